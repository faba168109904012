"""Bytes between processes: ZeroMQ sockets under trio, polling, and bounded send queues."""
