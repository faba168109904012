"""A worker without work polls the broker in place of the loop."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import eventually
from tests.unit.actors.executor.rig import ExecutorRig
from tests.unit.actors.interpreter.harness import START
from understudy_actors.executor import WorkerPool


class FakeBroker:
    """A `PollingPort` whose messages are functions; each wait ends with the next of them."""

    def __init__(self) -> None:
        self.messages: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.interruptions = 0
        #: there is nothing to poll
        self.closed = False
        #: names of the threads that wait
        self.waiting: list[str] = []
        #: the most threads that have waited at the same time
        self.waiting_max = 0

    def poll(self, on_polled: Callable[[], None]) -> bool:
        if self.closed:
            return False
        self.waiting.append(threading.current_thread().name)
        self.waiting_max = max(self.waiting_max, len(self.waiting))
        message = self.messages.get(timeout=10)
        self.waiting.remove(threading.current_thread().name)
        on_polled()
        if message is None:
            return False
        message()
        return True

    def interrupt(self) -> None:
        self.interruptions += 1
        self.messages.put(None)

    def poller(self) -> str:
        """Return the name of the thread that waits, once there is one."""
        name: str = eventually(lambda: self.waiting and self.waiting[0])
        return name


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
def pool(rig: ExecutorRig, broker: FakeBroker) -> Iterator[WorkerPool]:
    pool = WorkerPool(4, rig.results, lambda: START, broker)
    yield pool
    pool.stop()
    for _ in pool._threads:
        broker.messages.put(None)
    for thread in pool._threads:
        thread.join(5)
        assert not thread.is_alive()


def test_the_poller_performs_the_runs_of_its_messages_itself(
    rig: ExecutorRig, pool: WorkerPool, broker: FakeBroker
) -> None:
    def fn(ctx: Any, n: int) -> str:
        return threading.current_thread().name

    pool.submit(rig.run(fn))
    names = [rig.value(rig.take(1)[0])]
    for _ in range(20):
        assert broker.poller() == names[0]
        assert not pool.crowded
        broker.messages.put(lambda: pool.submit(rig.run(fn)))
        names.append(rig.value(rig.take(1)[0]))
    # A message that causes no run, such as a reply that nobody waits for.
    broker.poller()
    broker.messages.put(lambda: None)
    broker.poller()
    assert len(set(names)) == 1
    assert broker.interruptions == 0


def test_the_poller_is_interrupted_for_runs_of_others(
    rig: ExecutorRig, pool: WorkerPool, broker: FakeBroker
) -> None:
    def fn(ctx: Any, n: int) -> int:
        return n

    pool.submit(rig.run(fn, 0))
    rig.take(1)
    for n in range(1, 20):
        broker.poller()
        pool.submit(rig.run(fn, n))
        assert rig.value(rig.take(1)[0]) == n
        assert broker.interruptions == n
    assert len(pool._threads) == 1


def test_without_anything_to_poll_a_worker_is_idle(
    rig: ExecutorRig, pool: WorkerPool, broker: FakeBroker
) -> None:
    def fn(ctx: Any, n: int) -> int:
        return n

    def blocking(ctx: Any, n: int) -> int:
        begun.set()
        go.wait(10)
        return n

    broker.closed = True
    for n in range(5):
        pool.submit(rig.run(fn, n))
        assert rig.value(rig.take(1)[0]) == n
        eventually(lambda: pool._active == 0)
        assert not pool.crowded
    # A worker that works does not poll any more, so it is not interrupted either.
    begun, go = threading.Event(), threading.Event()
    pool.submit(rig.run(blocking, 5))
    assert begun.wait(10)
    pool.submit(rig.run(fn, 6))
    assert pool.crowded
    go.set()
    assert [rig.value(report) for report in rig.take(2)] == [5, 6]
    assert broker.interruptions == 0


def test_only_one_worker_polls(rig: ExecutorRig, pool: WorkerPool, broker: FakeBroker) -> None:
    everyone = threading.Barrier(4)

    def fn(ctx: Any, n: int) -> None:
        everyone.wait(10)

    for n in range(4):
        pool.submit(rig.run(fn, n))

    def all_begun() -> bool:
        pool.nudge()
        return pool.backlog == 0

    eventually(all_begun)
    rig.take(4)
    broker.poller()
    eventually(lambda: pool._active == 1)
    assert broker.waiting_max == 1
    # No message comes for a while, so all of them become idle.
    broker.messages.put(None)
    eventually(lambda: pool._active == 0)
    assert not pool.crowded


def nudge_stuck(pool: WorkerPool) -> None:
    """Nudge a pool in which nothing begins by itself, until the queued run has begun.

    Two nudges are enough: the second one sees that no run has begun since the first. More of them
    would bring more workers, if the one that is called is slow to come.
    """
    pool.nudge()
    pool.nudge()
    eventually(lambda: pool.backlog == 0)


def test_the_poller_is_called_if_all_others_block(
    rig: ExecutorRig, pool: WorkerPool, broker: FakeBroker
) -> None:
    go = threading.Event()

    def fn(ctx: Any, n: int) -> int:
        if n:
            go.wait(10)
        return n

    for n in range(2):
        pool.submit(rig.run(fn, n))
    assert rig.value(rig.take(1)[0]) == 0
    # The first worker blocks in the second run; another one comes, and its run ends.
    eventually(lambda: pool.backlog == 0)
    pool.submit(rig.run(fn, 0))
    nudge_stuck(pool)
    assert rig.value(rig.take(1)[0]) == 0
    broker.poller()
    assert len(pool._threads) == 2
    assert not pool.crowded
    pool.submit(rig.run(fn, 0))
    # No worker comes by itself: the poller would see the run only after its wait.
    eventually(lambda: pool.crowded)
    nudge_stuck(pool)
    assert rig.value(rig.take(1)[0]) == 0
    assert broker.interruptions == 1
    assert len(pool._threads) == 2
    go.set()
    assert rig.value(rig.take(1)[0]) == 1
