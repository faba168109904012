"""The REST of earlier servers, for SDKs of versions 0.5 and 0.6: a table of calls. Pure.

It is the same store with other names. A task of theirs is one stretch of our task: from a claim to
the ``complete`` that says that the function has ended, or waits. What it waits for was said before,
callback by callback, and the client wants to hear of each once: a function that is still in its
memory goes on with a ``resume`` that names a promise, and with nothing else. So this edge
remembers, for each task, which of its callbacks the client was not told of, and suspends the task
on them when it is completed. What has settled meanwhile is remembered by the store, too, until the
task is claimed.

If this edge does not know the callbacks, because another edge was asked for them or this one was
restarted, it takes them to be the task's children elsewhere, whose ids are made from its own. It
names those that have settled one after another, until the client says what it waits for, and then
suspends the task on the others. If there are none, because ids were chosen, it gives the task back
a second later, each time until something settles.

A claim is answered again for a process that has it already. Their SDKs ask again if a connection
breaks, and take up what was offered to them at two edges; and they end their process if a claim is
refused.

A task's counter is our version after the claim. Idempotency keys are kept in headers of ours, which
are never shown as headers.

What is not perfect: a claim is refused, and so ends the client, if it comes by an offer of two
edges ago that its process has dealt with since. And a call whose children have chosen
ids hangs until its process ends, if what it waits for has settled and two edges died before it was
told. A heartbeat renews all that a process has, also what an earlier process of that id had.

The `table` of calls leads to those of `promises`, `tasks` and `schedules`, which are plans as in
`operations`; `clients` is an edge's memory, and `handlers` the HTTP around it all.
"""
