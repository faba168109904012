"""Calls from RabbitMQ."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from itertools import count

import pika
import pytest

from tests.integration.sources.contract import SourceContract
from tests.integration.sources.world import World, orders
from tests.services.fixture import running
from tests.services.rabbitmq import RabbitServer

_names = count(1)


class RabbitMQ:
    """A queue of RabbitMQ; see `world.Queue`."""

    def __init__(self, server: RabbitServer) -> None:
        self.server = server
        self.name = f"orders.{next(_names)}"
        self.command = ["rabbitmq", "--queue", self.name]
        self.env = {"UNDERSTUDY_SOURCE_SERVER": server.url}
        self.place = f"rabbitmq:{self.name}"
        self._published = 0
        with self.connect() as connection:
            connection.channel().queue_declare(self.name, durable=True)
        self.start = server.start

    def kill(self) -> None:
        self.server.wait_until_kept(self.name)
        self.server.kill()

    def connect(self) -> pika.BlockingConnection:
        return pika.BlockingConnection(pika.URLParameters(self.server.url))

    def publish(self, bodies: Sequence[bytes]) -> None:
        ids = [f"m-{self._published + number}" for number in range(len(bodies))]
        self._published += len(bodies)
        self.publish_as(ids, bodies)

    def publish_as(self, ids: Sequence[str | None], bodies: Sequence[bytes]) -> None:
        """Publish messages with these ids."""
        with self.connect() as connection:
            channel = connection.channel()
            channel.tx_select()
            for id, body in zip(ids, bodies, strict=True):
                properties = pika.BasicProperties(
                    message_id=id, delivery_mode=2, headers={"tenant": "acme", "n": 1}
                )
                channel.basic_publish("", self.name, body, properties)
            channel.tx_commit()

    def waiting(self) -> int:
        """Count those that are not delivered: once nobody consumes, those are all."""
        with self.connect() as connection:
            declared = connection.channel().queue_declare(self.name, passive=True)
            return int(declared.method.message_count)


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitServer]:
    with running(RabbitServer) as server:
        yield server


@pytest.fixture
def queue(server: RabbitServer) -> RabbitMQ:
    return RabbitMQ(server)


class TestRabbitMQ(SourceContract):
    """Calls from RabbitMQ, with kills in the middle."""

    def test_a_message_without_an_id_is_recorded(self, world: World, queue: RabbitMQ) -> None:
        queue.publish_as([None, None], [b"[1]", b"[1]"])
        world.start_source()
        self.wait_empty(world, 1)
        [text] = world.failures().values()
        assert "has no id: it has no message_id" in text

    def test_equal_messages_without_ids_are_one_call_if_asked(
        self, world: World, queue: RabbitMQ
    ) -> None:
        queue.publish_as([None, None, None, "x.1"], [b"[1]", b"[1]", b"[2]", b"[1]"])
        world.start_source("--id", "m-{message_id_or_hash}")
        self.wait_empty(world, 3)
        assert len(world.calls()) == 3
        assert "m-x:1" in world.calls()

    def test_other_arguments_under_an_id_are_recorded(self, world: World, queue: RabbitMQ) -> None:
        queue.publish_as(["a", "a", "a", "a\nb"], [b"[1]", b"[2]", b'{"order": 1}', b"[3]"])
        world.start_source()
        self.wait_empty(world, 4)
        assert world.calls() == ["a"]
        texts = sorted(world.failures().values())
        assert len(texts) == 3
        assert any("belongs to a call of 'checkout', with other arguments" in t for t in texts)
        assert any("contains a control character" in text for text in texts)

    def test_a_header_becomes_a_tag(self, world: World, queue: RabbitMQ) -> None:
        queue.publish(orders(0, 1))
        world.start_source("--header", "tenant", "--header", "n", "--tag", "kind=test")
        self.wait_empty(world, 1)
        [promise] = world.runtime.promises.search(tags={"tenant": "acme"})
        assert promise.tags["kind"] == "test"
        assert "n" not in promise.tags

    def test_a_message_that_is_too_large_is_recorded(self, world: World, queue: RabbitMQ) -> None:
        text = b"x" * (5 << 20)
        queue.publish([b'[1, "%s"]' % text, b"[2]", text * 4])
        world.start_source()
        self.wait_empty(world, 3)
        world.wait_performed(1)
        assert world.performed == [2]
        small, large = sorted(world.failures().values(), key=len)
        assert "bytes; at most 16,777,216 are allowed" in large + small
        assert "is too large: the arguments" in large + small

    def test_a_queue_that_does_not_exist_yet_is_waited_for(
        self, world: World, queue: RabbitMQ
    ) -> None:
        with queue.connect() as connection:
            connection.channel().queue_delete(queue.name)
        source = world.start_source()
        source.wait_for("no queue")
        with queue.connect() as connection:
            connection.channel().queue_declare(queue.name, durable=True)
        queue.publish(orders(0, 1))
        world.wait_performed(1)
        assert "is back" in source.output

    def test_a_wrong_password_is_not_said_to_be_a_server_that_is_away(
        self, world: World, queue: RabbitMQ
    ) -> None:
        place = queue.env["UNDERSTUDY_SOURCE_SERVER"].rpartition("@")[2].removeprefix("amqp://")
        source = world.start_source("--server", f"amqp://guest:hunter2@{place}")
        source.wait_for("refuses this user")
        assert "hunter2" not in source.output
        assert "is away" not in source.output

    def test_a_deleted_queue_is_waited_for(self, world: World, queue: RabbitMQ) -> None:
        queue.publish(orders(0, 1))
        source = world.start_source()
        world.wait_performed(1)
        with queue.connect() as connection:
            connection.channel().queue_delete(queue.name)
        source.wait_for("is away")

    def test_the_bound_is_kept_while_the_broker_is_away(
        self, world: World, queue: RabbitMQ
    ) -> None:
        source = world.start_source("--in-flight", "50")
        queue.publish(orders(0, 10))
        world.wait_performed(10)
        world.kill(world.broker)
        queue.publish(orders(10, 200))
        source.wait_for("no broker answers")
        assert queue.waiting() >= 150
        world.start_broker()
        self.check_all(world, 210)

    def test_a_server_that_hangs_is_away(self, world: World, queue: RabbitMQ) -> None:
        """And so it is when the source tries to connect again."""
        quick = "heartbeat=1&socket_timeout=1&stack_timeout=1"
        source = world.start_source("--server", f"{queue.env['UNDERSTUDY_SOURCE_SERVER']}?{quick}")
        queue.publish(orders(0, 10))
        world.wait_performed(10)
        queue.server.pause()
        try:
            source.wait_for("is away")
            # Nobody is told of the attempts. A second server, with nobody behind it, counts them.
            with socket.create_server(("127.0.0.1", 0)) as silent:
                port = silent.getsockname()[1]
                other = world.start_source("--server", f"amqp://127.0.0.1:{port}/?{quick}")
                for _ in range(2):
                    silent.accept()[0].close()
                connection, _ = silent.accept()
                with connection:
                    connection.recv(8)
                    other.wait_for("is away")
                    silent.accept()[0].close()
        finally:
            queue.server.resume()
        source.wait_for("is back")
        queue.publish(orders(10, 10))
        world.wait_performed(20)
