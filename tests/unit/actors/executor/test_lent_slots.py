"""Slots of functions that wait for other calls: others run in their place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from tests.support import eventually
from tests.unit.actors.executor.rig import ExecutorRig
from tests.unit.actors.interpreter.harness import START
from understudy_actors.executor import WorkerPool, worker_pool
from understudy_actors.lent_slots import while_lent


class Lending:
    """A pool with one slot, and functions that wait for each other on its threads."""

    def __init__(self, rig: ExecutorRig) -> None:
        self.rig = rig
        self.lent: list[int] = []
        self.pool = WorkerPool(1, rig.results, lambda: START, on_lent=self._on_lent)
        self.go = threading.Event()
        self.waits = threading.Semaphore(0)
        self.waiter = self._waiter  # One object each, so that they are registered once.
        self.worker = self._worker
        self._lock = threading.Lock()
        self._running = 0
        self.overlap = threading.Event()

    def _on_lent(self) -> None:
        self.lent.append(self.pool.lent)

    def _waiter(self, ctx: Any, n: int) -> int:
        with while_lent():
            self.waits.release()
            assert self.go.wait(10)
        return n

    def _worker(self, ctx: Any, n: int) -> int:
        with self._lock:
            self._running += 1
            if self._running > 1:
                self.overlap.set()
        self.overlap.wait(0.001)
        with self._lock:
            self._running -= 1
        return n

    def submit_waiters(self, count: int) -> None:
        for n in range(count):
            self.pool.submit(self.rig.run(self.waiter, n))
            assert self.waits.acquire(timeout=10)


@pytest.fixture
def lending(rig: ExecutorRig) -> Iterator[Lending]:
    lending = Lending(rig)
    yield lending
    lending.go.set()
    lending.pool.stop()
    for thread in lending.pool._threads:
        thread.join(5)
        assert not thread.is_alive()


def test_another_run_begins_while_a_function_waits(lending: Lending) -> None:
    lending.submit_waiters(1)
    lending.pool.submit(lending.rig.run(lending.worker, 7))
    assert [lending.rig.value(report) for report in lending.rig.take(1)] == [7]
    lending.go.set()
    assert [lending.rig.value(report) for report in lending.rig.take(1)] == [0]
    assert lending.lent == [1, 0]


def test_a_run_that_waits_already_begins_when_a_slot_is_lent(lending: Lending) -> None:
    def fn(ctx: Any, n: int) -> int:
        begun.set()
        assert lend.wait(10)
        with while_lent():
            assert lending.go.wait(10)
        return n

    begun, lend = threading.Event(), threading.Event()
    lending.pool.submit(lending.rig.run(fn, 1))
    assert begun.wait(10)
    lending.pool.submit(lending.rig.run(lending.worker, 2))
    for _ in range(5):
        lending.pool.nudge()
    assert lending.pool.backlog == 1, "there is one slot"
    lend.set()
    assert [lending.rig.value(report) for report in lending.rig.take(1)] == [2]


def test_waits_within_waits_need_a_thread_each(lending: Lending) -> None:
    lending.submit_waiters(20)
    assert lending.pool.lent == 20
    lending.go.set()
    assert sorted(lending.rig.value(r) for r in lending.rig.take(20)) == list(range(20))
    eventually(lambda: lending.pool.lent == 0)


def test_afterwards_there_are_as_many_slots_as_before(lending: Lending) -> None:
    lending.submit_waiters(5)
    for n in range(100):
        lending.pool.submit(lending.rig.run(lending.worker, n))
    lending.go.set()
    lending.rig.take(105)
    for n in range(50):
        lending.pool.submit(lending.rig.run(lending.worker, n))
        lending.pool.nudge()
        lending.pool.nudge()
    lending.rig.take(50)
    assert not lending.overlap.is_set()


def test_the_slots_that_are_lent_have_a_bound(
    lending: Lending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "LENT_MAX", 3)
    lending.submit_waiters(4)
    lending.pool.submit(lending.rig.run(lending.worker, 5))
    for _ in range(5):
        lending.pool.nudge()
    assert (lending.pool.lent, lending.pool.backlog) == (3, 1), "the fourth keeps its slot"
    lending.go.set()
    assert sorted(lending.rig.value(r) for r in lending.rig.take(5)) == [0, 1, 2, 3, 5]
    assert lending.pool.lent == 0


def test_a_thread_lends_its_slot_once(lending: Lending) -> None:
    async def wait(count: int) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(wait_once)

    async def wait_once() -> None:
        with while_lent():
            await trio.lowlevel.checkpoint()

    def fn(ctx: Any, n: int) -> int:
        trio.run(wait, 5)
        return n

    lending.pool.submit(lending.rig.run(fn, 1))
    lending.rig.take(1)
    assert max(lending.lent) == 1
    assert lending.pool.lent == 0


def test_other_threads_lend_nothing() -> None:
    with while_lent():
        pass
