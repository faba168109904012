"""The loop of a source, step by step and by property."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sdk.sources.fakes import FakeForms, FakeQueue, FakeStore, message, translator
from understudy.queues.window import Window
from understudy.sources import feed as feed_module
from understudy.sources.feed import Feed
from understudy.sources.report import Figures, Report


class World:
    """A feed between a queue and a store, and a clock that the test turns."""

    def __init__(self, queue: FakeQueue, *, count_max: int = 4) -> None:
        self.queue = queue
        self.store = FakeStore()
        self.said: list[str] = []
        self.figures: list[Figures] = []
        self.now_s = 0.0
        self.report = Report(self.said.append, self.said.append, self.figures.append)
        self.window = Window(count_max, 1 << 20)
        self.start()

    def start(self) -> None:
        """Start a source; one that ran before is killed: nobody hears of it any more."""
        self.store.waiting.clear()
        self.window = Window(self.window.room + self.window.count, 1 << 20)
        self.queue.close()
        self.feed = Feed(
            self.queue,
            translator(),
            FakeForms(),
            self.store,
            self.window,
            self.report,
            place="list:t",
            now=lambda: self.now_s,
        )

    def turn(self, *, passes_s: float = 0.01) -> None:
        self.now_s += passes_s
        self.feed.turn()

    def finish(self) -> None:
        """Let everything work until the queue is empty."""
        self.queue.is_away = False
        self.store.refuses = None
        for _ in range(2000):
            self.turn(passes_s=1.0)
            self.store.perform()
            if self.queue.done:
                return
        raise AssertionError("it never ends")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "_BUSY_S", 0.0)
    monkeypatch.setattr(feed_module, "_IDLE_S", 0.0)


def queue_of(*bodies: bytes) -> FakeQueue:
    return FakeQueue([[message(number, body) for number, body in enumerate(bodies)]])


def test_nothing_is_acknowledged_before_it_is_stored() -> None:
    world = World(queue_of(b"[1]", b"[2]"))
    world.turn()
    assert world.queue.acknowledged == [0]
    world.store.perform()
    world.turn()
    assert world.queue.acknowledged == [2]


def test_the_oldest_holds_up_the_others() -> None:
    world = World(queue_of(b"[1]", b"[2]", b"[3]"))
    world.turn()
    world.store.perform(2, last_first=True)
    world.turn()
    assert world.queue.acknowledged == [0]
    world.store.perform()
    world.turn()
    assert world.queue.acknowledged == [3]


def test_at_the_bound_nothing_is_polled() -> None:
    world = World(FakeQueue([[message(number) for number in range(100)]]), count_max=4)
    for _ in range(10):
        world.turn()
    assert world.queue.held == 4
    assert world.queue.limits == [4] + [0] * 9
    world.finish()
    assert world.queue.held_max == 4


def test_a_queue_that_is_away_is_opened_again_and_delivers_again() -> None:
    world = World(queue_of(b"[1]", b"[2]"))
    world.turn()
    world.queue.go_away()
    world.turn()
    world.store.perform()  # stored while the queue is away
    world.turn()
    assert world.queue.acknowledged == [0]
    world.finish()
    assert world.report.known == 2
    assert len(world.store.created) == 2
    assert world.said == ["list t is away: it is away. Trying again", "list t is back"]


def test_attempts_become_rare_and_are_not_all_told() -> None:
    world = World(queue_of(b"[1]"))
    opened = 0

    def count_open() -> None:
        nonlocal opened
        opened += 1
        FakeQueue.open(world.queue)

    world.queue.open = count_open  # type: ignore[method-assign]
    world.queue.go_away()
    for _ in range(1000):
        world.turn(passes_s=0.1)
    assert 10 < opened < 25
    assert len(world.said) == 4


def test_forgotten_messages_have_their_room_until_they_are_answered() -> None:
    """Otherwise a queue that comes and goes would fill the memory while no broker answers."""
    world = World(FakeQueue([[message(number) for number in range(100)]]), count_max=4)
    for _ in range(5):
        world.turn(passes_s=20.0)
        world.queue.go_away()
        world.turn(passes_s=20.0)
        world.queue.is_away = False
    assert len(world.store.waiting) == 4
    world.finish()


def test_refused_commands_are_sent_again() -> None:
    world = World(queue_of(b"[1]", b"nonsense"))
    world.store.refuses = 503
    for _ in range(5):
        world.turn(passes_s=1.1)
        world.store.perform()
    assert world.queue.acknowledged == [0]
    assert len([text for text in world.said if "cannot be stored now: no" in text]) == 1
    world.finish()
    assert (world.report.stored, world.report.poison) == (1, 1)


def test_a_stop_acknowledges_what_is_stored_and_nothing_else() -> None:
    world = World(queue_of(*[b"[1]"] * 4))
    world.turn()
    world.store.perform(3)

    def give_up() -> float:
        world.now_s += 1.0
        return world.now_s

    world.feed._now = give_up
    world.feed.run(lambda: True)
    assert world.queue.acknowledged == [3]
    assert not world.queue.is_open


def test_poison_is_told_but_not_thousands_of_times() -> None:
    world = World(queue_of(*[b"x"] * 50), count_max=50)
    world.finish()
    assert world.report.poison == 50
    assert len(world.said) == 6


def test_the_figures_are_shown_if_there_is_something_to_show() -> None:
    world = World(queue_of(b"[1]", b"x"))
    world.finish()
    for _ in range(100):
        world.turn(passes_s=1.0)
    [figures] = world.figures
    assert (figures.stored, figures.poison, figures.acknowledged, figures.lag) == (1, 1, 2, 0)
    assert "1 stored" in figures.text()


BODIES = st.sampled_from([b"[1]", b"[2]", b'{"a": 1}', b"nonsense", b"7", b""])
ACTIONS = st.sampled_from(["turn", "turn", "perform", "last", "away", "back", "die", "refuse"])


@settings(max_examples=300)
@given(
    st.lists(st.lists(BODIES, max_size=12), min_size=1, max_size=3),
    st.lists(ACTIONS, max_size=60),
    st.integers(1, 8),
)
def test_whatever_happens_each_message_is_filed_once_and_then_acknowledged(
    bodies: list[list[bytes]], actions: list[str], count_max: int
) -> None:
    queue = FakeQueue(
        [
            [message(offset, body, partition=number) for offset, body in enumerate(each)]
            for number, each in enumerate(bodies)
        ]
    )
    world = World(queue, count_max=count_max)
    for action in actions:
        if action == "turn":
            world.turn(passes_s=0.6)
        elif action == "perform":
            world.store.perform(2)
        elif action == "last":
            world.store.perform(1, last_first=True)
        elif action == "away":
            queue.go_away()
        elif action == "back":
            queue.is_away, world.store.refuses = False, None
        elif action == "refuse":
            world.store.refuses = 503
        else:
            world.start()
        # Whatever is acknowledged is stored: as a call, or as the record of its failure.
        for number, done in enumerate(queue.acknowledged):
            for offset in range(done):
                promise = world.store.promises[f"t-{number}-{offset}"]
                assert ("poison" in promise.tags) == (promise.state == "rejected")
        assert queue.held_max <= count_max
    world.finish()
    assert max(Counter(world.store.created).values(), default=1) == 1
    good = sum(body in (b"[1]", b"[2]", b'{"a": 1}') for each in bodies for body in each)
    assert len(world.store.created) == good
    assert len(world.store.promises) == sum(map(len, bodies))
