"""To look before sleeping: only where a wait was short, and only as long as it finds something."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from time import perf_counter
from typing import Final

import pytest

from understudy_broker.transport import busy_poll as busypoll
from understudy_broker.transport.busy_poll import SHORT_S, BusyPoll, processors

LONG_S: Final = 30.0


class Clock:
    """Time passes by `step` s with each look at it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.step = 0.0
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        self.now += self.step
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(busypoll, "perf_counter", clock)
    return clock


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busypoll, "processors", lambda: 2)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def _paying(ours: socket.socket, most_s: float) -> BusyPoll:
    poll = BusyPoll(ours.fileno(), most_s)
    poll.slept(SHORT_S / 2)
    assert poll.pays
    return poll


def test_it_looks_only_after_a_short_wait(
    ends: tuple[socket.socket, socket.socket], clock: Clock
) -> None:
    ours, theirs = ends
    theirs.send(b"x")
    poll = BusyPoll(ours.fileno(), LONG_S)
    assert not poll.look(LONG_S)
    poll.slept(SHORT_S)
    assert not poll.look(LONG_S)
    assert clock.looks == 0
    poll.slept(SHORT_S / 2)
    assert poll.look(LONG_S)
    # found: so it pays the next time, too
    assert poll.look(LONG_S)
    poll.slept(LONG_S)
    assert not poll.look(LONG_S)


@pytest.mark.parametrize(("most_s", "timeout_s"), [(5.0, LONG_S), (LONG_S, 5.0)])
def test_it_gives_up_after_its_time_and_then_sleeps(
    most_s: float, timeout_s: float, ends: tuple[socket.socket, socket.socket], clock: Clock
) -> None:
    poll = _paying(ends[0], most_s)
    clock.step = 1.0
    assert not poll.look(timeout_s)
    # the first look at the clock is where it began
    assert clock.looks == 1 + 5
    assert not poll.look(timeout_s)
    assert clock.looks == 1 + 5
    poll.slept(SHORT_S / 2)
    ends[1].send(b"x")
    assert poll.look(timeout_s)


def test_it_gives_way_between_two_looks(
    ends: tuple[socket.socket, socket.socket], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is to send may be waiting for this very processor."""
    ours, theirs = ends

    def give_way() -> None:
        theirs.send(b"x")

    monkeypatch.setattr(busypoll, "_give_way", give_way)
    poll = _paying(ours, LONG_S)
    clock.step = LONG_S / 10
    assert poll.look(LONG_S)
    assert ours.recv(10) == b"x"


@pytest.mark.parametrize(("most_s", "count"), [(0.0, 2), (LONG_S, 1)])
def test_never(
    most_s: float,
    count: int,
    ends: tuple[socket.socket, socket.socket],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not if that is not wanted; and on one processor it keeps those from running it waits for."""
    monkeypatch.setattr(busypoll, "processors", lambda: count)
    ours, theirs = ends
    theirs.send(b"x")
    poll = BusyPoll(ours.fileno(), most_s)
    poll.slept(0.0)
    assert not poll.pays
    assert not poll.look(LONG_S)
    assert clock.looks == 0


def test_what_becomes_readable_ends_the_look_at_once(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """With the real clock, and the sender on a thread of its own."""
    ours, theirs = ends
    poll = _paying(ours, LONG_S)
    looking = threading.Event()

    def send() -> None:
        assert looking.wait(LONG_S)
        theirs.send(b"x")

    sender = threading.Thread(target=send)
    sender.start()
    began = perf_counter()
    looking.set()
    assert poll.look(LONG_S)
    assert perf_counter() - began < LONG_S / 2
    assert poll.pays
    sender.join()


def test_it_does_not_read(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.send(b"x")
    assert _paying(ours, LONG_S).look(LONG_S)
    assert select.select([ours], [], [], 0)[0] == [ours]


@pytest.mark.parametrize("count", [1, 3])
def test_processors_are_those_that_we_may_use(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)), raising=False)
    assert processors() == count
    monkeypatch.delattr(os, "sched_getaffinity")
    assert processors() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processors() == 1
