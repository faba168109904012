"""Queues: their addresses, and the messages that come out of them, for sources and task sources.

`port` says what a queue is here; each module of a kind of queue needs the extra of its name.
"""
