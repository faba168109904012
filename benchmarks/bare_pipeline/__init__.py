"""The bare pipeline: the parts of this design without any semantics, to compare with.

It has one ROUTER socket, two processes that perform calls, one that makes them, msgpack frames of
many messages, and one SQLite file with the product's promise table and statements. All messages
that are readable at once are stored in one synced transaction, and answered after it. A large batch
commits in a thread while the next one is read.

It has no leases, no check of versions or duplicate ids, no refusals, no credit, no deadlines, no
retries, no replay, no restart, and no threads for users' code. A system with these rules cannot be
as fast; the difference is their cost.
"""
