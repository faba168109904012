"""Calls through streams of Redis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

import pytest
import redis

from tests.integration.connectors.contract import ConnectorContract
from tests.services.fixture import running
from tests.services.redis import RedisServer

_names = count(1)


class RedisQueue:
    """A stream of Redis; see `world.Queue`."""

    def __init__(self, server: RedisServer) -> None:
        self.name = f"service-{next(_names)}"
        self.server_url = f"redis://127.0.0.1:{server.port}/2"
        self.source_url = self.target = f"{self.server_url}/{self.name}"
        self.kill, self.start = server.kill, server.start

    def publish(self, bodies: Sequence[bytes]) -> None:
        with redis.Redis.from_url(self.server_url) as client:
            for body in bodies:
                client.xadd(self.name, {"body": body})

    def waiting(self) -> int:
        """Count all entries: they are deleted once they are acknowledged."""
        with redis.Redis.from_url(self.server_url) as client:
            return int(client.xlen(self.name))


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running(RedisServer) as server:
        yield server


@pytest.fixture
def queue(server: RedisServer) -> RedisQueue:
    return RedisQueue(server)


class TestRedis(ConnectorContract):
    """Calls through Redis, with kills in the middle."""
