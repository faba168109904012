"""Calls from NATS JetStream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import count
from typing import Any, TypeVar

import nats
import pytest
from nats.js.api import ConsumerConfig
from nats.js.errors import NotFoundError

from tests.integration.sources.contract import SourceContract
from tests.integration.sources.world import World, orders
from tests.services.fixture import running
from tests.services.nats import NatsServer

_names = count(1)
T = TypeVar("T")


class NatsQueue:
    """A stream of NATS; see `world.Queue`."""

    def __init__(self, server: NatsServer) -> None:
        self._server = server
        self.name = f"orders{next(_names)}"
        # What a dead source had is delivered again soon.
        self.command = ["nats", "--stream", self.name, "--ack-wait", "2s"]
        self.env = {"UNDERSTUDY_SOURCE_SERVER": server.url}
        self.place = f"nats:{self.name}"
        self.kill, self.start = server.kill, server.start
        self.make()

    def do(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Do something with a connection to the server."""

        async def main() -> T:
            client = await nats.connect(self._server.url)
            try:
                return await work(client.jetstream(timeout=30))
            finally:
                await client.close()

        return asyncio.run(main())

    def make(self) -> None:
        """Make the stream."""
        self.do(lambda js: js.add_stream(name=self.name, subjects=[f"{self.name}.>"]))

    def delete(self) -> None:
        """Delete the stream."""
        self.do(lambda js: js.delete_stream(self.name))

    def publish(self, bodies: Sequence[bytes]) -> None:
        async def work(js: Any) -> None:
            for start in range(0, len(bodies), 500):
                await asyncio.gather(
                    *(
                        js.publish(f"{self.name}.eu", body, headers={"tenant": "acme"})
                        for body in bodies[start : start + 500]
                    )
                )

        self.do(work)

    def waiting(self) -> int:
        async def work(js: Any) -> int:
            try:
                info = await js.consumer_info(self.name, "understudy")
            except NotFoundError:
                return int((await js.stream_info(self.name)).state.messages)
            return int(info.num_pending + info.num_ack_pending)

        return self.do(work)


def let_pass(stream: str, time_s: float) -> Callable[[Any], Awaitable[None]]:
    """Return work that ends when a message that nobody acknowledges for so long comes again."""

    async def work(js: Any) -> None:
        config = ConsumerConfig(ack_wait=time_s)
        taken = await js.pull_subscribe("", durable="clock", stream=stream, config=config)
        await taken.fetch(1)
        while not any(each.metadata.num_delivered > 1 for each in await taken.fetch(200, 20.0)):
            pass

    return work


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with running(NatsServer) as server:
        yield server


@pytest.fixture
def queue(server: NatsServer) -> NatsQueue:
    return NatsQueue(server)


class TestNats(SourceContract):
    """Calls from NATS, with kills in the middle."""

    def test_ids_are_made_of_the_sequence(self, world: World, queue: NatsQueue) -> None:
        queue.publish(orders(0, 3))
        world.start_source("--id", "{subject}/{sequence}", "--header", "tenant")
        self.check_all(world, 3)
        assert world.calls() == [f"{queue.name}:eu/{n}" for n in (1, 2, 3)]
        assert len(list(world.runtime.promises.search(tags={"tenant": "acme"}))) == 3

    def test_a_stream_that_was_made_anew_is_not_taken_for_the_old_one(
        self, world: World, queue: NatsQueue
    ) -> None:
        """Its positions come again with other contents: they are recorded, not swallowed."""
        queue.publish(orders(0, 3))
        source = world.start_source()
        world.wait_performed(3)
        queue.delete()
        source.wait_for("is missing")
        queue.make()
        queue.publish([b"[1]", b"[77]"])
        source.wait_for("is back")
        self.wait_empty(world, 5)
        assert sorted(world.performed) == [0, 1, 2]
        assert all("with other arguments" in text for text in world.failures().values())

    def test_messages_are_kept_while_the_broker_is_away(
        self, world: World, queue: NatsQueue
    ) -> None:
        """They would be delivered again and again otherwise."""
        source = world.start_source("--ack-wait", "4s")
        queue.publish(orders(0, 10))
        world.wait_performed(10)
        world.kill(world.broker)
        queue.publish(orders(10, 50))
        source.wait_for("no broker answers")

        queue.do(let_pass(queue.name, 6.0))
        world.start_broker()
        self.check_all(world, 60)

        async def delivered(js: Any) -> int:
            return int((await js.consumer_info(queue.name, "understudy")).delivered.consumer_seq)

        assert queue.do(delivered) == 60
