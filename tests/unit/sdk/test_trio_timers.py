"""Timers on a trio loop."""

from __future__ import annotations

from collections.abc import Iterator

import trio
from trio.testing import MockClock

from understudy.trio_timers import start


def _noting(pauses_s: list[float], asked: list[float]) -> Iterator[float]:
    for pause_s in pauses_s:
        asked.append(trio.current_time())
        yield pause_s
    asked.append(trio.current_time())
    yield 1e9


async def test_each_pause_is_asked_for_when_the_one_before_is_over(
    autojump_clock: MockClock,
) -> None:
    asked: list[float] = []
    began = trio.current_time()
    timer = start(_noting([2.0, 0.5, 4.0], asked))
    await trio.sleep(100)
    timer.stop()
    assert [round(at - began, 6) for at in asked] == [0.0, 2.0, 2.5, 6.5]


async def test_a_stopped_timer_asks_for_nothing(autojump_clock: MockClock) -> None:
    asked: list[float] = []
    start(_noting([2.0], asked)).stop()
    await trio.sleep(100)
    assert len(asked) == 1


async def test_a_later_timer_that_is_due_earlier_does_not_wait_for_the_first(
    autojump_clock: MockClock,
) -> None:
    late: list[float] = []
    soon: list[float] = []
    timers = [start(_noting([500.0], late))]
    await trio.sleep(10)
    began = trio.current_time()
    timers.append(start(_noting([3.0], soon)))
    await trio.sleep(20)
    assert [round(at - began, 6) for at in soon] == [0.0, 3.0]
    for timer in timers:
        timer.stop()


async def test_timers_begin_again_after_the_last_has_ended(autojump_clock: MockClock) -> None:
    for _ in range(2):
        asked: list[float] = []
        timer = start(_noting([1.0], asked))
        await trio.sleep(2)
        timer.stop()
        assert len(asked) == 2
        await trio.sleep(2e9)


async def test_a_failure_ends_one_timer_and_no_other(autojump_clock: MockClock) -> None:
    def failing() -> Iterator[float]:
        yield 1.0
        raise ValueError("a handler's own")

    asked: list[float] = []
    timers = [start(failing()), start(_noting([2.0], asked))]
    await trio.sleep(10)
    assert len(asked) == 2
    for timer in timers:
        timer.stop()
