"""The commits of Kafka's adapter, with a consumer in memory: what real servers do rarely."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, TopicPartition

from tests.support import eventually
from understudy.queues import kafka
from understudy.queues.kafka import KafkaTopic
from understudy.queues.port import Message, SourceAwayError


class FakeMessage:
    def __init__(self, partition: int, offset: int) -> None:
        self._at = (partition, offset)

    def error(self) -> None:
        return None

    def partition(self) -> int:
        return self._at[0]

    def offset(self) -> int:
        return self._at[1]

    def key(self) -> bytes:
        return b"\xff"

    def value(self) -> bytes:
        return b"[1]"

    def headers(self) -> None:
        return None


class FakeConsumer:
    """A member of a group whose assignments the test makes."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.messages: deque[FakeMessage] = deque()
        #: each commit: the offsets, and whether it was waited for
        self.commits: list[tuple[dict[int, int], bool]] = []
        self.calls: list[str] = []
        self._hooks: dict[str, Callable[..., None]] = {}

    def list_topics(self, topic: str, timeout: float) -> Any:
        return SimpleNamespace(topics={topic: SimpleNamespace(error=None)})

    def subscribe(self, topics: Sequence[str], **hooks: Callable[..., None]) -> None:
        self._hooks = hooks

    def change(self, hook: str, *partitions: int) -> None:
        """Assign partitions, or revoke or lose them."""
        self._hooks[hook](self, [TopicPartition("t", number) for number in partitions])

    def commit(self, offsets: Sequence[TopicPartition], asynchronous: bool) -> None:
        self.commits.append(({each.partition: each.offset for each in offsets}, not asynchronous))

    def poll(self, timeout: float) -> FakeMessage | None:
        return self.messages.popleft() if self.messages else None

    def consume(self, count: int, timeout: float) -> list[FakeMessage]:
        return [self.messages.popleft() for _ in range(min(count, len(self.messages)))]

    def assignment(self) -> list[TopicPartition]:
        return []

    def pause(self, _: Any) -> None:
        self.calls.append("pause")

    def resume(self, _: Any) -> None:
        self.calls.append("resume")

    def close(self) -> None:
        self.calls.append("close")


class World:
    """A topic, whose consumer and clock the test turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[FakeConsumer] = []

        def make(settings: dict[str, Any]) -> FakeConsumer:
            self.made.append(FakeConsumer(settings))
            return self.made[-1]

        monkeypatch.setattr(kafka, "Consumer", make)
        self.now_s = 0.0
        self.topic = KafkaTopic("s", "t", "g", now=lambda: self.now_s)
        self.topic.open()
        self.consumer = self.made[-1]

    def poll(self, *, passes_s: float = 1.0, limit: int = 10) -> list[Message]:
        self.now_s += passes_s
        return list(self.topic.poll(limit, 0.0))

    def deliver(self, partition: int, *offsets: int) -> list[Message]:
        self.consumer.messages.extend(FakeMessage(partition, offset) for offset in offsets)
        return self.poll()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_commit_that_fails_is_made_again_and_never_goes_back(world: World) -> None:
    world.consumer.change("on_assign", 0)
    first, second = world.deliver(0, 7, 8)
    world.topic.acknowledge([first])
    world.now_s += 1.0
    world.topic.acknowledge([second])
    assert world.consumer.commits == [({0: 8}, False), ({0: 9}, False)]
    # The first one fails after the second was made.
    world.consumer.settings["on_commit"](OSError(), [TopicPartition("t", 0, 8)])
    world.poll()
    assert world.consumer.commits[2:] == [({0: 9}, False)]


def test_commits_are_gathered(world: World) -> None:
    world.consumer.change("on_assign", 0, 1)
    messages = [*world.deliver(0, *range(10)), *world.deliver(1, *range(10))]
    for message in messages:
        world.topic.acknowledge([message])
    assert len(world.consumer.commits) == 1
    world.poll()
    assert world.consumer.commits[1:] == [({0: 10, 1: 10}, False)]


def test_what_is_stored_is_committed_before_a_partition_goes(world: World) -> None:
    world.consumer.change("on_assign", 0)
    first, second, third = world.deliver(0, 7, 8, 9)
    world.topic.acknowledge([first])
    world.topic.acknowledge([second])
    world.consumer.change("on_revoke", 0)
    assert world.consumer.commits[-1] == ({0: 9}, True)
    # The third message belongs to somebody else now.
    world.topic.acknowledge([third])
    world.poll()
    assert world.consumer.commits[-1] == ({0: 9}, True)


def test_an_acknowledgment_from_before_a_rebalance_does_not_count(world: World) -> None:
    """The partition is back, and another member may have committed more."""
    world.consumer.change("on_assign", 0)
    [old] = world.deliver(0, 7)
    world.consumer.change("on_lost", 0)
    world.consumer.change("on_assign", 0)
    world.topic.acknowledge([old])
    world.poll()
    assert world.consumer.commits == []
    [new] = world.deliver(0, 7)
    world.topic.acknowledge([new])
    assert world.consumer.commits == [({0: 8}, False)]


def test_spare_messages_of_a_lost_partition_are_dropped(world: World) -> None:
    world.consumer.change("on_assign", 0)
    world.consumer.messages.extend(FakeMessage(0, offset) for offset in range(2))
    world.poll(limit=0)
    world.poll(limit=0)  # A second later one message comes that nobody wants.
    world.consumer.change("on_lost", 0)
    world.consumer.change("on_assign", 0)
    assert world.poll() == []


def test_partitions_are_paused_at_a_bound_that_lasts(world: World) -> None:
    world.consumer.change("on_assign", 0)
    world.poll(limit=0, passes_s=0.1)
    world.poll(limit=0, passes_s=0.1)
    assert world.consumer.calls == []
    world.poll(limit=0, passes_s=1.0)
    world.poll(limit=0, passes_s=1.0)
    assert world.consumer.calls == ["pause"]
    world.consumer.change("on_assign", 1)
    world.poll(limit=0)
    assert world.consumer.calls == ["pause", "pause"]
    world.poll()
    assert world.consumer.calls == ["pause", "pause", "resume"]


def test_the_end_commits_what_is_stored(world: World) -> None:
    world.consumer.change("on_assign", 0)
    first, second = world.deliver(0, 7, 8)
    world.topic.acknowledge([first])
    world.topic.acknowledge([second])
    world.topic.close()
    assert world.consumer.commits[-1] == ({0: 9}, True)
    assert world.consumer.calls[-1] == "close"


def test_servers_that_are_away_do_not_hold_up_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library waits for them when a consumer is closed."""
    goes_on, old = threading.Event(), world.consumer

    def close() -> None:
        goes_on.wait(10)
        old.change("on_revoke", 0)
        old.calls.append("close")

    monkeypatch.setattr(old, "close", close)
    old.change("on_assign", 0)
    [message] = world.deliver(0, 7)
    world.topic.acknowledge([message])
    old.settings["error_cb"](_AllBrokersDown())
    with pytest.raises(SourceAwayError, match="all down"):
        world.poll()
    world.topic.close()
    world.topic.open()
    new = world.made[-1]
    assert new is not old
    new.change("on_assign", 0)
    goes_on.set()
    eventually(lambda: old.calls[-1:] == ["close"])
    # What the old member hears is not about the new one.
    old.settings["on_commit"](OSError(), [TopicPartition("t", 0, 8)])
    old.settings["error_cb"](_AllBrokersDown())
    new.messages.append(FakeMessage(0, 7))
    [message] = world.poll()
    world.topic.acknowledge([message])
    assert new.commits == [({0: 8}, False)]


class _AllBrokersDown:
    def code(self) -> int:
        return KafkaError._ALL_BROKERS_DOWN

    def fatal(self) -> bool:
        return False

    def str(self) -> str:
        return "all down"
