"""The edge: HTTP in front of the brokers, as a process of its own.

Theory of operation
===================

An edge is a peer of all brokers, as a client is (`brokers`). It keeps nothing: what it is asked, it
asks the brokers, and what it is told, it tells. So any number of edges may run behind a load
balancer, and any of them may die at any time. Whoever asked repeats the request, at another edge if
need be; each request that changes something has an id, by which it is performed once.

Each protocol that it speaks is a folder with a pure core: JSON in, commands out, and replies back
to JSON, by tables. `server` has the sockets: Hypercorn's protocol code, within bounds.

The brokers' hot path knows nothing of all that.
"""
