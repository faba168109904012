"""The published Resonate protocol, version 2026-04-01, over HTTP.

Theory of operation
===================

A request is one envelope of JSON (`envelope`). Its kind is looked up in a table (`operations`),
and its data becomes a *plan*: a generator that yields commands for the brokers and gets their
replies, until it returns the answer. A plan does no I/O, so it is driven alike by an edge
(`handlers`), by a machine in the edge's own process for test suites (`debug`), and by tests.
Commands that are yielded together travel together, are performed in their order, and are durable
with one commit; so a task comes with its history in one round trip.

What their clients store and read is translated at this border and nowhere else:

- `tags`: ``resonate:*`` tags are stored as they came, beside ours that say the same to the machine.
  Promises of our own functions are shown with the tags that they would have.
- `payloads`: their text is stored as a value that our decoder reads (`values.foreign`); ours
  becomes base64 of JSON, errors included.
- `records`: records become JSON.
- `addresses`: ``poll://`` addresses.

Their tasks are held under pids that no peer of a broker has, by lease and heartbeat alone.

*Listeners* (`streams`) are event streams. The edge attaches each one's name to its group at every
broker, and is then sent offers of tasks, and unblocks. A task is not acquired until the client does
so: an offer that gets lost is repeated by the broker. An unblock is acknowledged once the stream
has taken it, and until then it is owed.

What is not perfect
===================

- The preload of a fence and of a suspend holds the children of the task as if the branch of its
  promise were its own id, which it is unless somebody has tagged it otherwise.
- A promise that a fence makes with the branch of another task is not in the preload of that one.
- An unblock that the kernel has taken, and that the client had no time to read, is not repeated.
  Their SDKs register their listeners again each minute, and are then answered with the settlement.
"""
