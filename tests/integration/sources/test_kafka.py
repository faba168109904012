"""Calls from Kafka."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from tests.integration.sources.contract import SOME, SourceContract
from tests.integration.sources.world import World, orders
from tests.services.fixture import running
from tests.services.kafka import KafkaServer
from tests.support import eventually

_names = count(1)
PARTITIONS = 3


class KafkaQueue:
    """A topic of Kafka with some partitions; see `world.Queue`."""

    def __init__(self, server: KafkaServer) -> None:
        self._settings: dict[str, str | int | float | bool] = {
            "bootstrap.servers": server.url,
            "log_level": 0,
        }
        self.name = f"orders.{next(_names)}"
        self.command = [
            *("kafka", "--topic", self.name),
            # A dead member's partitions go to others soon.
            *("--setting", "session.timeout.ms=3000", "--setting", "heartbeat.interval.ms=500"),
        ]
        self.env = {"UNDERSTUDY_SOURCE_SERVER": server.url}
        self.place = f"kafka:{self.name}"
        self.kill, self.start = server.kill, server.start
        self.make()

    def make(self) -> None:
        """Make the topic."""
        admin = AdminClient(self._settings)
        made = admin.create_topics([NewTopic(self.name, PARTITIONS, 1)])
        made[self.name].result(30)

    def delete(self) -> None:
        """Delete the topic."""
        admin = AdminClient(self._settings)
        deleted = admin.delete_topics([self.name])
        deleted[self.name].result(30)

    def publish(self, bodies: Sequence[bytes]) -> None:
        failed: list[object] = []
        producer = Producer({**self._settings, "linger.ms": 5})
        for number, body in enumerate(bodies):
            producer.produce(
                self.name,
                body,
                partition=number % PARTITIONS,
                headers={"tenant": b"acme", "raw": b"\xff"},
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
        assert producer.flush(60) == 0
        assert not failed

    def committed(self) -> dict[int, int]:
        """Return the committed offset of each partition."""
        consumer = Consumer({**self._settings, "group.id": "understudy"})
        try:
            wanted = [TopicPartition(self.name, number) for number in range(PARTITIONS)]
            return {each.partition: each.offset for each in consumer.committed(wanted, 10)}
        finally:
            consumer.close()

    def waiting(self) -> int:
        consumer = Consumer({**self._settings, "group.id": "understudy"})
        try:
            wanted = [TopicPartition(self.name, number) for number in range(PARTITIONS)]
            total = 0
            for each in consumer.committed(wanted, 10):
                first, end = consumer.get_watermark_offsets(each, 10)
                total += end - (each.offset if each.offset >= 0 else first)
            return total
        finally:
            consumer.close()


@pytest.fixture(scope="module")
def server() -> Iterator[KafkaServer]:
    with running(KafkaServer) as server:
        yield server


@pytest.fixture
def queue(server: KafkaServer) -> KafkaQueue:
    return KafkaQueue(server)


class TestKafka(SourceContract):
    """Calls from Kafka, with kills in the middle."""

    def test_ids_are_made_of_the_position(self, world: World, queue: KafkaQueue) -> None:
        queue.publish(orders(0, 6))
        world.start_source("--header", "tenant", "--header", "raw")
        self.check_all(world, 6)
        name = queue.name.replace(".", ":")
        expected = [f"{name}-{part}-{at}" for part in range(PARTITIONS) for at in range(2)]
        assert world.calls() == expected
        [*tagged] = world.runtime.promises.search(tags={"tenant": "acme"})
        assert len(tagged) == 6
        assert not any("raw" in promise.tags for promise in tagged)

    def test_partitions_move_to_members_that_join_and_back(
        self, world: World, queue: KafkaQueue
    ) -> None:
        queue.publish(orders(0, self.many))
        first = world.start_source("--in-flight", "200")
        world.wait_performed(SOME)
        second = world.start_source("--in-flight", "200")
        third = world.start_source()
        second.wait_for("has the partitions")
        third.wait_for("has the partitions")
        queue.publish(orders(self.many, 300))
        world.wait_performed(self.many + 300)
        assert second.stop() == 0
        queue.publish(orders(self.many + 300, 300))
        world.wait_performed(self.many + 400)
        world.kill(third)
        queue.publish(orders(self.many + 600, 300))
        self.check_all(world, self.many + 900)
        assert "is away" not in first.output

    def test_commits_are_made_while_messages_come(self, world: World, queue: KafkaQueue) -> None:
        """A source that is killed repeats what was taken lately, and not everything."""
        world.start_source()
        queue.publish(orders(0, 300))
        eventually(lambda: sum(queue.committed().values()) == 300, 60.0)

    def test_a_source_stays_a_member_while_the_broker_is_away(
        self, world: World, queue: KafkaQueue
    ) -> None:
        """Another one joins meanwhile, for which the first must answer."""
        source = world.start_source("--in-flight", "50")
        queue.publish(orders(0, 30))
        world.wait_performed(30)
        world.kill(world.broker)
        queue.publish(orders(30, 300))
        source.wait_for("no broker answers")
        world.start_source("--in-flight", "50")
        world.start_broker()
        self.check_all(world, 330)

    def test_a_topic_that_does_not_exist_yet_is_waited_for(
        self, world: World, queue: KafkaQueue
    ) -> None:
        queue.delete()
        source = world.start_source()
        source.wait_for("is missing")
        eventually(lambda: _made(queue), 30.0)
        queue.publish(orders(0, 3))
        self.check_all(world, 3)


def _made(queue: KafkaQueue) -> bool:
    try:
        queue.make()
    except KafkaException:
        return False  # It is still being deleted.
    return True
