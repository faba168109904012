"""The gRPC service of an edge: ``understudy.v1``, beside the HTTP of the same process.

Theory of operation
===================

The service is described in ``v1/understudy.proto``, from which the code beside it is generated. A
request becomes a command by pure functions (`requests`), a record becomes a message (`answers`),
and a refusal becomes a status (`statuses`) with the text that HTTP and the command line have.
`operations` ask the brokers in between, on the trio loop of the edge.

grpcio has an interface for asyncio and none for trio. So the server runs on an asyncio loop in a
thread of its own (`server`), and each request crosses over to the trio loop and back (`bridge`).
Nothing but messages, futures and cancellation crosses. A client that goes away cancels its
request's task on the asyncio loop, and that cancels the one on the trio loop.

A stream is pulled, not pushed: the trio side takes news of a graph (`graph_watch`) only after the
asyncio side has written those before. Until then only the latest state of each promise is kept. So
a slow reader holds nothing of its own but what it has not read, and one that takes nothing for long
is cut off.

What is not perfect: grpc's core buffers what is written to a client, some 64 KiB or more, and takes
it for read.
"""
