"""Servers of NATS that are away: a source says so soon, and can be stopped."""

from __future__ import annotations

import socket
import time

import pytest

from understudy.bench.deployment import free_port
from understudy.queues.nats import NatsStream
from understudy.queues.port import SourceAwayError


def seconds_of(stream: NatsStream, reason: str) -> float:
    """Return how long it takes to open a stream, which fails, and to close it."""
    begun_s = time.monotonic()
    with pytest.raises(SourceAwayError, match=reason):
        stream.open()
    stream.close()
    return time.monotonic() - begun_s


def test_servers_that_refuse_are_away_at_once() -> None:
    servers = f"nats://127.0.0.1:{free_port()},nats://127.0.0.1:{free_port()}"
    # The library alone would try for two minutes.
    assert seconds_of(NatsStream(servers, "orders", "group"), "ConnectionRefusedError") < 1.5


def test_a_server_that_says_nothing_is_away_soon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"nats://127.0.0.1:{silent.getsockname()[1]}"
        assert seconds_of(NatsStream(server, "orders", "group"), "no answer in time") < 8
