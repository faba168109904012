"""The native API: calls, promises, schedules and groups as HTTP and JSON.

Theory of operation
===================

A request is made a command by pure functions: `paths` (ids in a path), `parameters` (the query),
`bodies` (JSON within bounds), `calls`, `promises` and `schedules` (the commands themselves). A
reply becomes JSON with the keys that the command line shows (`understudy.views`), or a `Problem`.
None of them does I/O or reads a clock: the time is an argument. The handlers ask the brokers in
between.

An edge keeps nothing, so a request may be repeated at any edge. What a request creates has an id:
the client's own, one made of its ``Idempotency-Key``, or one that the edge makes and tells in the
``Location``. A create whose id exists is compared with what is stored there (`conflicts`).

What is not perfect: a client that gives neither id nor key, and loses the answer, does not know
whether its call was stored. That is its choice.
"""
