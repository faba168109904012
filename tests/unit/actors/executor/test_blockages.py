"""What blocks a node is named with its line."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import eventually
from tests.unit.actors.executor.rig import ExecutorRig
from tests.unit.actors.interpreter.harness import START
from understudy_actors.executor import AsyncLoop, Executor, WorkerPool
from understudy_actors.executor.blockages import Blockages

HERE = __file__


@pytest.fixture
def loop(rig: ExecutorRig) -> Iterator[AsyncLoop]:
    loop = AsyncLoop(rig.results, lambda: START)
    yield loop
    loop.stop()


def is_begun(pool: WorkerPool) -> bool:
    """Put more workers to work; return whether there is nothing more to do for them."""
    pool.nudge()
    return pool.backlog == 0


def test_workers_that_are_all_inside_functions(rig: ExecutorRig) -> None:
    def fn(ctx: Any, n: int) -> int:
        begun.release()
        go[n].wait(10)
        return n

    begun, go, now = threading.Semaphore(0), [threading.Event() for _ in range(3)], [100.0]
    pool = WorkerPool(2, rig.results, lambda: START)
    blockages = Blockages(Executor(pool, {}), clock=lambda: now[0])
    pool.submit(rig.run(fn, 0))
    assert begun.acquire(timeout=10)
    blockages.look()
    assert blockages.workers(0) == [], "another one is free"
    pool.submit(rig.run(fn, 1))
    eventually(lambda: is_begun(pool))
    assert begun.acquire(timeout=10)
    blockages.look()
    now[0] += 7
    blockages.look()
    assert blockages.workers(8) == []
    [found] = blockages.workers(5)
    assert found.who == "workers"
    assert found.text.startswith(f"all worker threads have been in functions for 7 s: {HERE}:")
    assert blockages.brief().startswith(f"all its worker threads are in functions: {HERE}:")
    # One of them goes on with another function: now they are blocked for less long.
    pool.submit(rig.run(fn, 2))
    go[0].set()
    assert begun.acquire(timeout=10)
    assert blockages.workers(5) == []
    blockages.look()
    now[0] += 3
    assert [each.for_s for each in blockages.workers(1)] == [3]
    assert blockages.workers(5) == []
    go[1].set()
    go[2].set()
    rig.take(3)
    eventually(lambda: not blockages.workers(0))
    pool.stop()


def test_a_loop_that_a_function_blocks(rig: ExecutorRig, loop: AsyncLoop) -> None:
    async def fn(ctx: Any, n: int) -> int:
        begun.set()
        go.wait(10)
        return n

    begun, go = threading.Event(), threading.Event()
    blockages = Blockages(Executor(WorkerPool(1, rig.results, lambda: START), {"trio": loop}))
    assert blockages.loops(0) == []
    loop.submit(rig.run(fn, 1))
    assert begun.wait(10)
    loop.blocked()
    eventually(lambda: bool(blockages.loops(0.01)))
    [found] = blockages.loops(0.01)
    assert found.text.startswith("the trio loop has been blocked for 0 s by ")
    assert HERE in found.text
    go.set()
    rig.take(1)
    eventually(lambda: not blockages.loops(0.01))
