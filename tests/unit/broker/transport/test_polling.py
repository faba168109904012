"""Busy polling: only after a short sleep, and only while it succeeds."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Iterator
from time import perf_counter
from typing import Final

import pytest

from understudy_broker.transport import polling
from understudy_broker.transport.polling import (
    SHORT_WAIT_S,
    BusyPoll,
    JointPoll,
    available_processors,
)

LONG_S: Final = 30.0


class Clock:
    """A clock that advances by `step` s each time it is read."""

    def __init__(self) -> None:
        self.now = 100.0
        self.step = 0.0
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        self.now += self.step
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(polling, "perf_counter", clock)
    return clock


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "available_processors", lambda: 2)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def _worthwhile(ours: socket.socket, limit_s: float) -> BusyPoll:
    busy_poll = BusyPoll(ours.fileno(), limit_s)
    busy_poll.record_sleep(SHORT_WAIT_S / 2)
    assert busy_poll.worthwhile
    return busy_poll


def test_it_polls_only_after_a_short_sleep(
    ends: tuple[socket.socket, socket.socket], clock: Clock
) -> None:
    ours, theirs = ends
    theirs.send(b"x")
    busy_poll = BusyPoll(ours.fileno(), LONG_S)
    assert not busy_poll.poll(LONG_S)
    busy_poll.record_sleep(SHORT_WAIT_S)
    assert not busy_poll.poll(LONG_S)
    assert clock.reads == 0
    busy_poll.record_sleep(SHORT_WAIT_S / 2)
    assert busy_poll.poll(LONG_S)
    # It found something, so it polls the next time, too.
    assert busy_poll.poll(LONG_S)
    busy_poll.record_sleep(LONG_S)
    assert not busy_poll.poll(LONG_S)


@pytest.mark.parametrize(("limit_s", "timeout_s"), [(5.0, LONG_S), (LONG_S, 5.0)])
def test_it_gives_up_after_its_limit_and_then_sleeps(
    limit_s: float, timeout_s: float, ends: tuple[socket.socket, socket.socket], clock: Clock
) -> None:
    busy_poll = _worthwhile(ends[0], limit_s)
    clock.step = 1.0
    assert not busy_poll.poll(timeout_s)
    # The first read of the clock is the beginning.
    assert clock.reads == 1 + 5
    assert not busy_poll.poll(timeout_s)
    assert clock.reads == 1 + 5
    busy_poll.record_sleep(SHORT_WAIT_S / 2)
    ends[1].send(b"x")
    assert busy_poll.poll(timeout_s)


def test_it_yields_the_processor_between_two_polls(
    ends: tuple[socket.socket, socket.socket], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender may be waiting for this very processor."""
    ours, theirs = ends

    def yield_processor() -> None:
        theirs.send(b"x")

    monkeypatch.setattr(polling, "_yield_processor", yield_processor)
    busy_poll = _worthwhile(ours, LONG_S)
    clock.step = LONG_S / 10
    assert busy_poll.poll(LONG_S)
    assert ours.recv(10) == b"x"


@pytest.mark.parametrize(("limit_s", "count"), [(0.0, 2), (LONG_S, 1)])
def test_it_never_polls(
    limit_s: float,
    count: int,
    ends: tuple[socket.socket, socket.socket],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A limit of 0 forbids it, and on a single processor the sender could not run meanwhile."""
    monkeypatch.setattr(polling, "available_processors", lambda: count)
    ours, theirs = ends
    theirs.send(b"x")
    busy_poll = BusyPoll(ours.fileno(), limit_s)
    busy_poll.record_sleep(0.0)
    assert not busy_poll.worthwhile
    assert not busy_poll.poll(LONG_S)
    assert clock.reads == 0


def test_input_ends_the_poll_at_once(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """Uses the real clock, and a thread that sends."""
    ours, theirs = ends
    busy_poll = _worthwhile(ours, LONG_S)
    polls = threading.Event()

    def send() -> None:
        assert polls.wait(LONG_S)
        theirs.send(b"x")

    sender = threading.Thread(target=send)
    sender.start()
    began = perf_counter()
    polls.set()
    assert busy_poll.poll(LONG_S)
    assert perf_counter() - began < LONG_S / 2
    assert busy_poll.worthwhile
    sender.join()


def test_it_does_not_read(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.send(b"x")
    assert _worthwhile(ours, LONG_S).poll(LONG_S)
    assert select.select([ours], [], [], 0)[0] == [ours]


@pytest.mark.parametrize("count", [1, 3])
def test_processors_that_this_process_may_not_use_do_not_count(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)), raising=False)
    assert available_processors() == count
    monkeypatch.delattr(os, "sched_getaffinity")
    assert available_processors() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_processors() == 1


@pytest.fixture
def joint(ends: tuple[socket.socket, socket.socket]) -> Iterator[JointPoll]:
    joint = JointPoll(ends[0].fileno())
    yield joint
    joint.close()


def is_readable(fd: int, timeout_s: float = 0) -> bool:
    return bool(select.select([fd], [], [], timeout_s)[0])


def test_a_joint_poll_waits_for_both(
    ends: tuple[socket.socket, socket.socket], joint: JointPoll
) -> None:
    other, others = socket.socketpair()
    with other, others:
        joint.join((other.fileno(),))
        assert not is_readable(joint.fd)
        others.send(b"x")
        assert is_readable(joint.fd, LONG_S)
        other.recv(1)
        assert not is_readable(joint.fd)
        ends[1].send(b"x")
        assert is_readable(joint.fd, LONG_S)


def test_a_joint_poll_waits_for_several_others(joint: JointPoll) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    joint.join(tuple(ours.fileno() for ours, _ in pairs))
    for ours, theirs in pairs:
        assert not is_readable(joint.fd)
        theirs.send(b"x")
        assert is_readable(joint.fd, LONG_S)
        ours.recv(1)
    joint.join(())
    for ours, theirs in pairs:
        theirs.send(b"x")
        assert not is_readable(joint.fd)
        ours.close()
        theirs.close()


def test_a_joint_poll_forgets_the_descriptor_of_before(joint: JointPoll) -> None:
    first, firsts = socket.socketpair()
    second, seconds = socket.socketpair()
    with first, firsts, second, seconds:
        joint.join((first.fileno(),))
        joint.join((second.fileno(),))
        firsts.send(b"x")
        assert not is_readable(joint.fd)
        joint.join((first.fileno(),))
        assert is_readable(joint.fd)


def test_a_descriptor_may_be_another_files_by_now(joint: JointPoll) -> None:
    """A connection was closed, and the next one has its number."""
    first, firsts = socket.socketpair()
    number = first.fileno()
    joint.join((number,))
    first.close()
    firsts.close()
    second, seconds = socket.socketpair()
    with second, seconds:
        assert second.fileno() == number
        joint.join((number,))
        assert not is_readable(joint.fd)
        seconds.send(b"x")
        assert is_readable(joint.fd, LONG_S)
