"""Worker threads for generators and plain functions."""

from __future__ import annotations

import random
import threading
from collections import deque
from typing import Any

import pytest

from tests.support import eventually
from tests.unit.actors.executor.rig import ExecutorRig
from understudy_actors.activation import StepReport
from understudy_actors.executor import WorkerPool
from understudy_actors.interpreter import stack


def test_short_steps_are_taken_in_order_by_one_thread(rig: ExecutorRig, pool: WorkerPool) -> None:
    def fn(ctx: Any, n: int) -> Any:
        return [n, threading.current_thread().name]

    runs = [rig.run(fn, n) for n in range(200)]
    for run in runs:
        pool.submit(run)
    values = [rig.value(result) for result in rig.take(200)]
    assert [n for n, _ in values] == list(range(200))
    assert {name for _, name in values} == {"understudy-worker-0"}


def test_blocking_functions_get_more_threads(rig: ExecutorRig, pool: WorkerPool) -> None:
    def fn(ctx: Any, n: int) -> int:
        everyone.wait(10)
        return n

    everyone = threading.Barrier(8)
    for n in range(8):
        pool.submit(rig.run(fn, n))

    def all_begun() -> bool:
        pool.nudge()
        return pool.backlog == 0

    eventually(all_begun)
    assert sorted(rig.value(r) for r in rig.take(8)) == list(range(8))


def test_there_are_never_more_threads_than_the_size(rig: ExecutorRig, pool: WorkerPool) -> None:
    def fn(ctx: Any, n: int) -> int:
        go.wait(10)
        return n

    go = threading.Event()
    for n in range(20):
        pool.submit(rig.run(fn, n))

    def all_busy() -> bool:
        pool.nudge()
        return pool.backlog == 12

    eventually(all_busy)
    for _ in range(10):
        pool.nudge()
    assert len(pool._threads) == 8
    go.set()
    assert len(rig.take(20)) == 20


def test_a_run_that_has_not_begun_can_be_withdrawn(rig: ExecutorRig, pool: WorkerPool) -> None:
    def fn(ctx: Any, n: int) -> int:
        begun.set()
        go.wait(10)
        return n

    begun, go = threading.Event(), threading.Event()
    first, second = rig.run(fn, 1), rig.run(fn, 2)
    pool.submit(first)
    assert begun.wait(10)
    pool.submit(second)
    assert pool.withdraw(second)
    assert not pool.withdraw(second)
    assert not pool.withdraw(first), "it has begun"
    go.set()
    assert [rig.value(r) for r in rig.take(1)] == [1]


def test_a_waiting_generator_is_closed_on_a_worker(rig: ExecutorRig, pool: WorkerPool) -> None:
    def fn(ctx: Any, n: int) -> Any:
        try:
            yield ctx.rfc("a")
        finally:
            closed.append(threading.current_thread().name)

    closed: list[str] = []
    run = rig.run(fn)
    pool.submit(run)
    rig.take(1)
    run.routine.is_over = run.routine.dropped = True
    pool.close(run)
    eventually(lambda: closed)
    assert closed == ["understudy-worker-0"]


def test_a_running_generator_is_closed_when_its_step_ends(
    rig: ExecutorRig, pool: WorkerPool
) -> None:
    def fn(ctx: Any, n: int) -> Any:
        try:
            begun.set()
            go.wait(10)
            yield ctx.rfc("a")
        finally:
            closed.set()

    begun, go, closed = threading.Event(), threading.Event(), threading.Event()
    run = rig.run(fn)
    pool.submit(run)
    assert begun.wait(10)
    run.routine.is_over = run.routine.dropped = True
    pool.close(run)
    assert not closed.is_set()
    go.set()
    assert closed.wait(10)


def test_what_is_set_aside_is_closed_only_beyond_a_bound(
    rig: ExecutorRig, pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fn(ctx: Any, n: int) -> Any:
        try:
            yield ctx.rfc("a")
        finally:
            ctx.log.warning("closed")
            closed.append(n)

    monkeypatch.setattr(stack, "KEPT_MAX", 2)
    monkeypatch.setattr(stack, "_kept", deque())
    closed: list[int] = []
    for n in range(5):
        run = rig.run(fn, n)
        pool.submit(run)
        rig.take(1)
        run.routine.dropped = True
        pool.close(run)
    eventually(lambda: closed == [0, 1, 2])


def test_no_wake_up_is_lost(rig: ExecutorRig, pool: WorkerPool) -> None:
    """Many short bursts, with threads falling idle in between."""

    def fn(ctx: Any, n: int) -> Any:
        return (yield ctx.rfc("a", n))

    rng = random.Random(1)
    for _ in range(200):
        runs = [rig.run(fn, n) for n in range(rng.randint(1, 12))]
        for run in runs:
            pool.submit(run)
            if rng.random() < 0.2:
                pool.nudge()
        for result in rig.take(len(runs)):
            rig.settle(result.run, result)
            pool.submit(result.run)
        assert all(result.result.done is not None for result in rig.take(len(runs)))
    assert pool.backlog == 0


def test_a_long_step_reports_in_parts(rig: ExecutorRig, pool: WorkerPool) -> None:
    def fn(ctx: Any, n: int) -> Any:
        for i in range(1000):
            yield ctx.rfi("a", i)

    pool.submit(rig.run(fn))
    parts: list[StepReport] = []

    def last() -> bool:
        parts.extend(rig.results.take())
        return bool(parts) and parts[-1].final

    eventually(last)
    assert [part.final for part in parts] == [False, False, False, True]
    assert sum(len(part.result.commands) for part in parts) == 1000


def test_busy_time_reaches_the_node(rig: ExecutorRig, pool: WorkerPool) -> None:
    def fn(ctx: Any, n: int) -> int:
        return n

    for n in range(100):
        pool.submit(rig.run(fn, n))
    rig.take(100)
    steps = 0

    def measured() -> bool:
        nonlocal steps
        count, busy_ms = rig.results.take_busy_time()
        assert busy_ms >= 0
        steps += count
        return steps == 100

    eventually(measured)
