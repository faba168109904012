"""Partitions that are paused go on once there is room, whatever has come or gone meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from understudy.queues import kafka
from understudy.queues.kafka import KafkaTopic


class FakeConsumer:
    """A member of a group, whose partitions the test assigns. Those of today's rebalances stay."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.paused: set[int] = set()
        self._assigned: list[TopicPartition] = []
        self._on_assign: Callable[..., None]

    def close(self) -> None: ...

    def list_topics(self, topic: str, timeout: float) -> Any:
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None)})

    def subscribe(self, topics: list[str], *, on_assign: Callable[..., None], **_: Any) -> None:
        self._on_assign = on_assign

    def assign(self, *numbers: int) -> None:
        """Add partitions, as a rebalance does."""
        new = [TopicPartition("orders", number) for number in numbers]
        self._on_assign(self, new)
        self._assigned += new

    def assignment(self) -> list[TopicPartition]:
        return self._assigned

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self.paused |= {each.partition for each in partitions}

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self.paused -= {each.partition for each in partitions}

    def poll(self, timeout_s: float) -> None: ...


@pytest.mark.parametrize("new", [(), (2,)])
def test_partitions_come_while_others_are_paused(
    monkeypatch: pytest.MonkeyPatch, new: tuple[int, ...]
) -> None:
    monkeypatch.setattr(kafka, "Consumer", FakeConsumer)
    now = SimpleNamespace(s=0.0)
    topic = KafkaTopic("here:9092", "orders", "g", now=lambda: now.s)
    topic.open()
    consumer: FakeConsumer = topic._consumer
    consumer.assign(0, 1)
    topic.poll(0, 0.0)
    now.s = 2.0
    topic.poll(0, 0.0)
    assert consumer.paused == {0, 1}
    consumer.assign(*new)
    topic.poll(0, 0.0)
    assert consumer.paused == {0, 1, *new}
    topic.poll(10, 0.0)
    assert consumer.paused == set()
