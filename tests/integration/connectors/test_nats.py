"""Calls through streams of NATS JetStream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import count
from typing import Any, TypeVar

import nats
import pytest
from nats.js.errors import NotFoundError

from tests.integration.connectors.contract import ConnectorContract
from tests.integration.connectors.world import PATIENCE_S, World
from tests.services.fixture import running
from tests.services.nats import NatsServer

_names = count(1)
T = TypeVar("T")


class NatsQueue:
    """A subject of NATS; see `world.Queue`."""

    def __init__(self, server: NatsServer) -> None:
        self.server_url = server.url
        self.name = f"service.n{next(_names)}"
        self.source_url = self.target = f"{server.url}/{self.name}"
        self.kill, self.start = server.kill, server.start

    def do(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Do something with a connection to the server."""

        async def main() -> T:
            client = await nats.connect(self.server_url)
            try:
                return await work(client.jetstream(timeout=30))
            finally:
                await client.close()

        return asyncio.run(main())

    def publish(self, bodies: Sequence[bytes]) -> None:
        async def work(js: Any) -> None:
            for body in bodies:
                await js.publish(self.name, body)

        self.do(work)

    def waiting(self) -> int:
        """Count those that the consumer has to acknowledge; all, if there is none.

        After a crash of the server, its stream may have acknowledged ones still.
        """

        async def work(js: Any) -> int:
            try:
                stream = await js.find_stream_name_by_subject(self.name)
            except NotFoundError:
                return 0
            for each in await js.consumers_info(stream):
                return int(each.num_pending + each.num_ack_pending)
            return int((await js.stream_info(stream)).state.messages)

        return self.do(work)


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with running(NatsServer) as server:
        yield server


@pytest.fixture
def queue(server: NatsServer) -> NatsQueue:
    return NatsQueue(server)


class TestNats(ConnectorContract):
    """Calls through NATS, with kills in the middle."""

    def test_a_stream_that_has_the_subject_is_used(self, world: World, queue: NatsQueue) -> None:
        queue.do(lambda js: js.add_stream(name="ours", subjects=[queue.name, "more.>"]))
        world.start_connector()
        world.start_node()
        assert world.calls.rpc("a", "outer", 1).result(timeout=PATIENCE_S) == 3
        assert queue.do(lambda js: js.stream_info("ours")).state.messages == 3
