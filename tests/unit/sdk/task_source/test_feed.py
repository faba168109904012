"""The loop of a task source: order of acquire and acknowledgment, room, poison, outages."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future

import msgspec
import pytest

from understudy.edge.resonate.messages import execute_json
from understudy.errors import BrokerUnavailableError, CommandError
from understudy.queues.port import Message, QueueKind, SourceAwayError
from understudy.task_source.feed import TaskFeed

KIND = QueueKind("fake", {}, [], "", "fake")


class Queue:
    """A queue in memory, which can be away."""

    kind = KIND
    place = "the queue"

    def __init__(self) -> None:
        self.waiting: deque[bytes] = deque()
        self.held: list[bytes] = []
        self.acknowledged: list[bytes] = []
        self.given_back = 0
        self.polls: list[int] = []
        self.is_away = False
        self.opened = 0

    def open(self) -> None:
        self.check()
        self.opened += 1

    def check(self) -> None:
        if self.is_away:
            raise SourceAwayError("no route")

    def poll(self, limit: int, timeout_s: float) -> Sequence[Message]:
        self.check()
        self.polls.append(limit)
        found = [self.waiting.popleft() for _ in range(min(limit, len(self.waiting)))]
        self.held += found
        return [Message("p", body, {}, body) for body in found]

    def acknowledge(self, messages: Sequence[Message]) -> None:
        self.check()
        for message in messages:
            self.held.remove(message.body)
            self.acknowledged.append(message.body)

    def give_back(self) -> None:
        self.check()
        self.given_back += 1

    def lag(self) -> int | None:
        return None

    def close(self) -> None:
        self.waiting.extendleft(reversed(self.held))
        self.held.clear()


class Taker:
    """A connection that notes what is to be acquired."""

    def __init__(self) -> None:
        self.room = 10
        self.asked: list[tuple[str, int]] = []
        self.answers: list[Future[bool]] = []

    def acquire(self, id: str, version: int) -> tuple[Future[bool], Future[None]]:
        self.asked.append((id, version))
        self.answers.append(Future())
        return self.answers[-1], Future()


class World:
    def __init__(self) -> None:
        self.now_s = 1000.0
        #: how much later it is whenever somebody looks
        self.ticks_s = 0.0
        self.queue = Queue()
        self.taker = Taker()
        self.feed = TaskFeed(self.queue, self.taker, now=self.now)

    def now(self) -> float:
        self.now_s += self.ticks_s
        return self.now_s

    def put(self, *ids: str) -> list[bytes]:
        bodies = [msgspec.json.encode(execute_json(id, 0, "")) for id in ids]
        self.queue.waiting += bodies
        return bodies

    def turn(self, count: int = 1) -> None:
        for _ in range(count):
            self.feed.turn()


@pytest.fixture
def world() -> World:
    return World()


def test_a_message_is_acknowledged_once_its_task_is_acquired_or_refused(world: World) -> None:
    a, b = world.put("a", "b")
    world.turn(3)
    assert world.taker.asked == [("a", 0), ("b", 0)]
    assert world.queue.acknowledged == []
    world.taker.answers[1].set_result(False)
    world.turn()
    assert world.queue.acknowledged == [b]
    world.taker.answers[0].set_result(True)
    world.turn()
    assert world.queue.acknowledged == [b, a]
    assert (world.feed.acquired, world.feed.refused) == (1, 1)


def test_no_more_is_taken_than_there_is_room_for(world: World) -> None:
    world.taker.room = 3
    world.put(*"abcdefgh")
    world.turn(5)
    assert len(world.taker.asked) == 3
    world.taker.room = 2  # One of them runs.
    world.taker.answers[0].set_result(True)
    world.turn(5)
    assert len(world.taker.asked) == 3
    world.taker.room = 3
    world.turn()
    world.turn()
    assert len(world.taker.asked) == 4


def test_what_was_sent_ahead_is_given_back_after_a_moment_without_room_once(world: World) -> None:
    world.taker.room = 0
    world.put("a")
    world.turn(3)
    assert world.queue.given_back == 0
    world.now_s += 0.6
    world.turn(3)
    assert world.queue.given_back == 1
    assert set(world.queue.polls) == {0}
    world.taker.room = 1
    world.turn()
    assert world.taker.asked == [("a", 0)]


def test_poison_is_dropped_and_said_now_and_then(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        world.queue.waiting += [b"no", b"x" * 99_999]
        world.turn(2)
    assert len(caplog.messages) == 1
    assert "dropped: 2, the last because it has 99,999 bytes" in caplog.messages[0]
    world.now_s += 31
    world.turn()
    assert "dropped: 4" in caplog.messages[1]
    assert (world.feed.dropped, len(world.queue.acknowledged)) == (6, 6)


def test_a_task_that_the_store_refuses_is_dropped(world: World) -> None:
    [a] = world.put("a")
    world.turn()
    world.taker.answers[0].set_exception(CommandError(400, "no such id"))
    world.turn()
    assert world.queue.acknowledged == [a]
    assert world.feed.dropped == 1


def test_without_a_broker_the_message_is_kept_and_tried_again(world: World) -> None:
    [a] = world.put("a")
    world.turn()
    world.taker.answers[0].set_exception(BrokerUnavailableError("nobody"))
    world.turn(3)
    assert (world.taker.asked, world.queue.held) == ([("a", 0)], [a])
    world.now_s += 1.1
    world.turn()
    assert world.taker.asked == [("a", 0), ("a", 0)]
    world.taker.answers[1].set_result(True)
    world.turn()
    assert world.queue.acknowledged == [a]


def test_what_a_broker_has_that_is_away_for_long_does_not_stop_the_others(world: World) -> None:
    a, b = world.put("a", "b")
    world.turn()
    world.taker.answers[1].set_result(True)
    for tries in range(3):
        world.taker.answers[-1 if tries else 0].set_exception(BrokerUnavailableError("nobody"))
        world.turn()
        assert world.queue.acknowledged == ([b, a] if tries == 2 else [b])
        world.now_s += 1.1
        world.turn()
    assert (world.feed.acquired, world.feed.given_up) == (1, 1)


def test_a_queue_that_is_away_is_said_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    [a] = world.put("a")
    world.turn()
    world.queue.is_away = True
    for _ in range(100):
        world.now_s += 1
        world.turn()
    world.taker.answers[0].set_result(True)
    world.queue.is_away = False
    world.now_s += 11
    world.turn()
    assert caplog.messages == ["the queue is away: no route. Trying again", "the queue is back"]
    # It comes again, is refused, and acknowledged.
    assert world.taker.asked == [("a", 0), ("a", 0)]
    world.taker.answers[1].set_result(False)
    world.turn()
    assert world.queue.acknowledged == [a]


def test_at_the_end_what_was_acquired_is_acknowledged_and_the_rest_is_given_back(
    world: World,
) -> None:
    a, b = world.put("a", "b")
    world.turn()
    world.taker.answers[0].set_result(True)
    world.ticks_s = 0.5  # The answer for the other one does not come in time.
    world.feed.run(lambda: True)
    assert world.queue.acknowledged == [a]
    assert list(world.queue.waiting) == [b]
    assert world.queue.given_back >= 1
