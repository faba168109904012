"""Bulks of calls: a bounded window, in order, and nothing after a failure."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from understudy.client.bulk import WINDOW, Bulk, BulkCall
from understudy_store.commands import PromiseCreate
from understudy_store.records import Value


class World:
    """A loop and a broker: they note what they get."""

    def __init__(self, count: int) -> None:
        self.sent: list[BulkCall] = []
        self.submitted: list[Callable[[], None]] = []
        self.calls = [
            BulkCall(PromiseCreate(f"x/{n}", 1, Value({}), {}), Future(), Future())
            for n in range(count)
        ]
        self.bulk = Bulk(self.calls, lambda *call: self.sent.append(BulkCall(*call)), self.submit)

    def submit(self, function: Callable[[], None]) -> None:
        self.submitted.append(function)

    def answer(self, count: int) -> None:
        unanswered = [call for call in self.sent if not call.stored.done()]
        for call in unanswered[:count]:
            call.stored.set_result(None)

    def run_submitted(self) -> None:
        submitted, self.submitted = self.submitted, []
        for function in submitted:
            function()


def ids(calls: list[BulkCall]) -> list[Any]:
    return [call.create.id for call in calls]


def test_a_few_are_sent_at_once() -> None:
    world = World(3)
    world.bulk.send()
    assert ids(world.sent) == ["x/0", "x/1", "x/2"]
    world.answer(3)
    assert world.submitted == []


def test_many_are_sent_half_a_window_at_a_time_and_in_order() -> None:
    world = World(3 * WINDOW)
    world.bulk.send()
    assert len(world.sent) == WINDOW
    while len(world.sent) < len(world.calls):
        world.answer(WINDOW // 2 - 1)
        assert world.submitted == [], "not for every answer"
        world.answer(1)
        before = len(world.sent)
        world.run_submitted()
        assert len(world.sent) - before == WINDOW // 2
    assert ids(world.sent) == ids(world.calls)


def test_a_call_that_was_refused_makes_room_for_the_next() -> None:
    world = World(2 * WINDOW)
    world.bulk.send()
    for call in world.sent[: WINDOW // 2]:
        call.stored.set_exception(ValueError("refused"))
    world.run_submitted()
    assert len(world.sent) == WINDOW + WINDOW // 2


def test_what_failed_before_it_was_sent_is_not_sent() -> None:
    world = World(2 * WINDOW)
    world.bulk.send()
    for call in world.calls:
        call.stored.set_exception(ConnectionError("no broker"))
    world.run_submitted()
    assert len(world.sent) == WINDOW
