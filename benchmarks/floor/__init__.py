"""The floor: what the parts of this design cost with no semantics on top.

One ROUTER socket, two processes that perform calls, one that makes them, msgpack frames of many
messages, one SQLite file with the product's promise table and statements, one synced transaction
for all that was readable at once, and no answer before it. Bare loops; a large batch commits in a
thread while the next one is read.

What it does not do: no leases, no versions that are checked, no duplicate ids, no refusals, no
credit, no deadlines, no retries, no replay, no restart, no threads for users' code. A system with
these rules cannot be as quick; how much slower it is, is what they cost.
"""
