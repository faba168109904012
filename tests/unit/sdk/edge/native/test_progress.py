"""Looks at progress: what is new is told once, and a silent function costs little."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import trio
import trio.testing

from understudy.edge.brokers import NoBrokerError
from understudy.edge.native.progress import (
    PAUSE_MAX_S,
    TASKS_MAX,
    ProgressNews,
    follow_progress,
    progress_data,
)
from understudy_store.commands import Reply
from understudy_store.progress import ProgressRecord


class Brokers:
    """Brokers that know the progress of one task."""

    def __init__(self, *, takes_progress: bool = True) -> None:
        self.takes_progress = takes_progress
        self.progress: tuple[ProgressRecord, ...] = ()
        self.answers = True
        #: when they were asked, and for how many tasks
        self.asked: list[tuple[float, int]] = []

    async def ask_all(self, commands: list[Any]) -> list[Reply]:
        self.asked.append((trio.current_time(), len(commands)))
        if not self.answers:
            raise NoBrokerError
        return [Reply(200, progress=self.progress), Reply(404)]


def followed(brokers: Any, ids: list[str], *changes: tuple[float, Any]) -> list[ProgressRecord]:
    """Follow the progress of tasks for a minute, in which the brokers change; return the news."""
    told: list[ProgressRecord] = []

    async def change() -> None:
        for seconds, what in changes:
            await trio.sleep(seconds)
            what()

    async def main() -> None:
        with trio.move_on_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(change)
                await follow_progress(brokers, lambda: ids, told.append)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return told


def test_what_is_new_is_told_once() -> None:
    brokers = Brokers()
    half, own = ProgressRecord("x.1", 0.5, "", 7), ProgressRecord("x", 0.1, "a", 5)

    def say(*progress: ProgressRecord) -> Any:
        return lambda: setattr(brokers, "progress", progress)

    later = ProgressRecord("x", 0.2, "b", 9)
    assert followed(brokers, ["x"], (0.5, say(half, own)), (9, say(later))) == [own, half, later]


def test_who_says_nothing_is_asked_ever_more_seldom() -> None:
    brokers = Brokers()
    assert not followed(brokers, ["x"])
    times = [at for at, _ in brokers.asked]
    pauses = [round(after - before) for before, after in pairwise(times)]
    assert pauses[:4] == [2, 4, 8, 8]
    assert max(pauses) == PAUSE_MAX_S


def test_brokers_of_an_earlier_release_are_not_asked() -> None:
    brokers = Brokers(takes_progress=False)
    followed(brokers, ["x"])
    followed(Brokers(), [])
    assert not brokers.asked


def test_a_graph_is_looked_at_in_part() -> None:
    brokers = Brokers()
    followed(brokers, [str(number) for number in range(1_000)])
    assert {count for _, count in brokers.asked} == {TASKS_MAX}


def test_brokers_that_are_away_for_a_while_end_nothing() -> None:
    brokers = Brokers()
    brokers.progress = (ProgressRecord("x", 0.5, "", 7),)

    def answers(answers: bool) -> Any:
        return lambda: setattr(brokers, "answers", answers)

    told = followed(brokers, ["x"], (0.5, answers(False)), (20, answers(True)))
    assert told == list(brokers.progress)


def test_a_stream_is_told_the_latest_of_each_function() -> None:
    async def main() -> None:
        news, end = ProgressNews(), trio.Event()
        first, second = ProgressRecord("x", 0.1, "", 1), ProgressRecord("x", 0.2, "", 2)
        news.hear(first)
        news.hear(second)
        assert news.come.is_set()
        assert news.take() == [second]
        assert not news.come.is_set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(news.end_with, end)
            end.set()
            await news.come.wait()
        assert news.take() == []

    trio.run(main)


def test_the_data_of_an_event() -> None:
    data = progress_data(ProgressRecord("x", 0.5, "half", 7))
    assert data == {"id": "x", "fraction": 0.5, "text": "half", "at": 7}
