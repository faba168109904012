"""Connectors: processes that put the offers of tasks into queues, for the brokers.

`process` is the program: a carrier (`edge.carrier`) whose deliveries (`deliveries`) go to a server
of queues (`port`) on a loop of asyncio, because the libraries need one (`server_thread`).
"""
