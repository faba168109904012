"""Calls through queues of RabbitMQ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

import pika
import pytest

from tests.integration.connectors.contract import ConnectorContract
from tests.integration.connectors.world import PATIENCE_S, World
from tests.services.fixture import running
from tests.services.rabbitmq import RabbitServer
from tests.support import eventually

_names = count(1)


class RabbitMQ:
    """A queue of RabbitMQ; see `world.Queue`."""

    def __init__(self, server: RabbitServer) -> None:
        self._server = server
        self.name = f"service-{next(_names)}"
        place = f"127.0.0.1:{server.port}"
        self.server_url = f"amqp://guest:guest@{place}"
        self.source_url = f"{self.server_url}/{self.name}"
        self.target = f"amqp://{place}/{self.name}"
        self.kill, self.start = server.kill, server.start

    def connect(self) -> pika.BlockingConnection:
        return pika.BlockingConnection(pika.URLParameters(self._server.url))

    def publish(self, bodies: Sequence[bytes]) -> None:
        with self.connect() as connection:
            channel = connection.channel()
            for body in bodies:
                channel.basic_publish("", self.name, body)

    def waiting(self) -> int:
        with self.connect() as connection:
            try:
                declared = connection.channel().queue_declare(self.name, passive=True)
            except pika.exceptions.ChannelClosedByBroker:
                return 0
            return int(declared.method.message_count)


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitServer]:
    with running(RabbitServer) as server:
        yield server


@pytest.fixture
def queue(server: RabbitServer) -> RabbitMQ:
    return RabbitMQ(server)


class TestRabbitMQ(ConnectorContract):
    """Calls through RabbitMQ, with kills in the middle."""

    def test_everything_but_the_tasks_over_http(self, world: World, queue: RabbitMQ) -> None:
        world.start_connector()
        node = world.start_node(url=world.start_edge())
        assert world.calls.rpc("a", "outer", 1).result(timeout=PATIENCE_S) == 3
        assert node.stop() == 143

    def test_a_busy_process_gives_back_what_was_sent_ahead(self, world: World) -> None:
        world.start_connector()
        world.start_node("--concurrency", "1", name="busy")
        first = world.calls.rpc("a", "hold", 1)
        eventually(lambda: world.exists("holds-1"), PATIENCE_S)
        others = [world.calls.rpc(f"b-{n}", "baz", n) for n in range(5)]
        world.start_node(name="idle")
        assert [each.result(timeout=PATIENCE_S) for each in others] == [1, 2, 3, 4, 5]
        (world.folder / "release").touch()
        assert first.result(timeout=PATIENCE_S) == "busy"

    def test_a_queue_that_is_deleted_is_made_again(self, world: World, queue: RabbitMQ) -> None:
        connector = world.start_connector()
        node = world.start_node()
        assert world.calls.rpc("a", "baz", 1).result(timeout=PATIENCE_S) == 2
        with queue.connect() as connection:
            connection.channel().queue_delete(queue.name)
        node.wait_for("is away")
        assert world.calls.rpc("b", "baz", 2).result(timeout=PATIENCE_S) == 3
        node.wait_for("is back")
        # No secret is in any log.
        assert "guest" not in world.report()
        assert connector.stop() == 0

    def test_a_queue_that_exists_stays_as_it_is(self, world: World, queue: RabbitMQ) -> None:
        arguments = {"x-max-length": 1000, "x-queue-type": "quorum"}
        with queue.connect() as connection:
            connection.channel().queue_declare(queue.name, durable=True, arguments=arguments)
        world.start_connector()
        world.start_node()
        assert world.calls.rpc("a", "outer", 1).result(timeout=PATIENCE_S) == 3

    def test_a_full_queue_refuses(self, world: World, queue: RabbitMQ) -> None:
        arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
        with queue.connect() as connection:
            connection.channel().queue_declare(queue.name, durable=True, arguments=arguments)
        queue.publish([b"x"])
        world.start_connector()
        world.calls.rpc("a", "baz", 1)
        world.broker.wait_for("the queue takes no more")
