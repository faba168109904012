"""Executors: threads for generators and plain functions, a trio loop for coroutines."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
import trio

from tests.support import eventually
from tests.unit.actors.interpreter.playing import (
    ROOT,
    START,
    answer,
    environment,
    root_record,
    settled,
)
from understudy.client.node_environment import NodeEnvironment
from understudy.retry import Constant
from understudy_actors.activation import Activation, Run, StepReport
from understudy_actors.executor import AsyncLoop, Results, WorkerPool
from understudy_actors.executor.inline import QUICK_S
from understudy_actors.interpreter.routine import Routine
from understudy_store.commands import PromiseCreate
from understudy_store.records import PENDING, PromiseRecord, Value


class Bench:
    """Runs without a node: steps' results are gathered, and promises settled by hand."""

    def __init__(self) -> None:
        self.env: NodeEnvironment = environment()
        self.results = Results(self.wake)
        self.woken = threading.Event()
        self.seen: list[StepReport] = []

    def wake(self, _: bool) -> None:
        self.woken.set()

    def run(self, fn: Callable[..., Any], number: int = 0) -> Run:
        function = self.env.registry.of(fn) or self.env.registry.register(fn)
        record = root_record()
        data = self.env.values.encode_call(None, (number,), {})
        routine = Routine(self.env, function, record, origin=ROOT, branch=ROOT, data=data)
        run = Run(Activation(record, 1), routine, None)
        run.scheduled = True
        return run

    def take(self, count: int, timeout_s: float = 10.0) -> list[StepReport]:
        """The next `count` finished steps."""
        ends_at = time.monotonic() + timeout_s
        taken: list[StepReport] = []
        while len(taken) < count:
            assert self.woken.wait(ends_at - time.monotonic()), f"{len(taken)} of {count}"
            self.woken.clear()
            taken += [result for result in self.results.take() if result.final]
        for report in taken:
            report.run.scheduled = False
        return taken

    def value(self, result: StepReport) -> Any:
        done = result.result.done
        assert done is not None
        if done.error is not None:
            raise done.error
        return self.env.values.decode_value(done.value.data)

    def settle(self, run: Run, result: StepReport) -> None:
        """Tell a run of the settlement of all that its step asked for."""
        for command in result.result.commands:
            assert isinstance(command, PromiseCreate)
            record = PromiseRecord(
                command.id, PENDING, command.param, Value({}), {}, command.timeout_at, START
            )
            run.routine.learn(settled(record, *answer(self.env, record), START))
        run.scheduled = True


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def pool(bench: Bench) -> Iterator[WorkerPool]:
    pool = WorkerPool(8, bench.results, lambda: START)
    yield pool
    pool.stop()
    for thread in pool._threads:
        thread.join(5)
        assert not thread.is_alive()


class Hall:
    """What a worker listens to, as a `PollingPort`: a word for each time that it waits."""

    def __init__(self) -> None:
        self.words: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.interrupted = 0
        #: there is nothing to listen to
        self.closed = False
        #: threads that wait
        self.waiting: list[str] = []
        #: most of them at once
        self.most = 0

    def poll(self, on_polled: Callable[[], None]) -> bool:
        if self.closed:
            return False
        self.waiting.append(threading.current_thread().name)
        self.most = max(self.most, len(self.waiting))
        word = self.words.get(timeout=10)
        self.waiting.remove(threading.current_thread().name)
        on_polled()
        if word is None:
            return False
        word()
        return True

    def interrupt(self) -> None:
        self.interrupted += 1
        self.words.put(None)

    def wait(self) -> str:
        """The thread that waits, once there is one."""
        name: str = eventually(lambda: self.waiting and self.waiting[0])
        return name


@pytest.fixture
def hall() -> Hall:
    return Hall()


@pytest.fixture
def listeners(bench: Bench, hall: Hall) -> Iterator[WorkerPool]:
    pool = WorkerPool(4, bench.results, lambda: START, hall)
    yield pool
    pool.stop()
    for _ in pool._threads:
        hall.words.put(None)
    for thread in pool._threads:
        thread.join(5)
        assert not thread.is_alive()


@pytest.fixture
def loop(bench: Bench) -> Iterator[AsyncLoop]:
    loop = AsyncLoop(bench.results, lambda: START)
    yield loop
    loop.stop()
    assert loop._thread is None or not loop._thread.is_alive()


class TestThreads:
    def test_a_quick_function_is_performed_in_its_callers_step(
        self, bench: Bench, pool: WorkerPool
    ) -> None:
        outcomes: Iterator[Any] = iter([1, 2, ValueError("no")])

        def leaf(ctx: Any) -> Any:
            outcome = next(outcomes)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        def fn(ctx: Any, n: int) -> Generator[Any, Any, None]:
            for _ in range(3):
                yield ctx.lfc(leaf)

        function = bench.env.registry.register(leaf, retry=Constant())
        run = bench.run(fn)
        assert pool._pace.is_quick(function) is False, "not before it is known"
        pool._pace.observe(function, 0.0)
        ended = []
        for _ in range(3):
            pool.submit(run)
            [result] = bench.take(1)
            [start] = result.result.locals
            ended.append(result.inlined)
            run.routine.learn(settled(start.record, "resolved", Value({}, None), START))
            run.scheduled = True
            pool._pace.observe(function, 0.0)
        assert [e[1].done is not None for e in ended if e] == [True, True, False]
        last = ended[-1]
        assert last is not None
        # the caller's node waits, and tries again, as it does for others
        assert last[1].retry_after_s is not None
        assert str(last[1].retry_error) == "no"

    def test_what_was_slow_gets_a_step_of_its_own(self, bench: Bench, pool: WorkerPool) -> None:
        def leaf(ctx: Any) -> None: ...

        def fn(ctx: Any, n: int) -> Generator[Any, Any, None]:
            yield ctx.lfc(leaf)

        pool._pace.observe(bench.env.registry.register(leaf), 2 * QUICK_S)
        pool.submit(bench.run(fn))
        [result] = bench.take(1)
        assert len(result.result.locals) == 1
        assert result.inlined is None

    def test_who_waits_for_more_than_one_has_them_beside_each_other(
        self, bench: Bench, pool: WorkerPool
    ) -> None:
        def leaf(ctx: Any) -> None: ...

        def fn(ctx: Any, n: int) -> Generator[Any, Any, None]:
            one = yield ctx.lfi(leaf)
            two = yield ctx.lfi(leaf)
            yield ctx.all([one, two])

        pool._pace.observe(bench.env.registry.register(leaf), 0.0)
        pool.submit(bench.run(fn))
        [result] = bench.take(1)
        assert len(result.result.locals) == 2
        assert result.inlined is None

    def test_short_steps_are_taken_in_order_by_one_thread(
        self, bench: Bench, pool: WorkerPool
    ) -> None:
        def fn(ctx: Any, n: int) -> Any:
            return [n, threading.current_thread().name]

        runs = [bench.run(fn, n) for n in range(200)]
        for run in runs:
            pool.submit(run)
        values = [bench.value(result) for result in bench.take(200)]
        assert [n for n, _ in values] == list(range(200))
        assert {name for _, name in values} == {"understudy-worker-0"}

    def test_blocking_functions_get_more_threads(self, bench: Bench, pool: WorkerPool) -> None:
        def fn(ctx: Any, n: int) -> int:
            everyone.wait(10)
            return n

        everyone = threading.Barrier(8)
        for n in range(8):
            pool.submit(bench.run(fn, n))

        def all_begun() -> bool:
            pool.nudge()
            return pool.backlog == 0

        eventually(all_begun)
        assert sorted(bench.value(r) for r in bench.take(8)) == list(range(8))

    def test_never_more_threads_than_its_size(self, bench: Bench, pool: WorkerPool) -> None:
        def fn(ctx: Any, n: int) -> int:
            go.wait(10)
            return n

        go = threading.Event()
        for n in range(20):
            pool.submit(bench.run(fn, n))

        def all_busy() -> bool:
            pool.nudge()
            return pool.backlog == 12

        eventually(all_busy)
        for _ in range(10):
            pool.nudge()
        assert len(pool._threads) == 8
        go.set()
        assert len(bench.take(20)) == 20

    def test_what_has_not_begun_can_be_withdrawn(self, bench: Bench, pool: WorkerPool) -> None:
        def fn(ctx: Any, n: int) -> int:
            begun.set()
            go.wait(10)
            return n

        begun, go = threading.Event(), threading.Event()
        first, second = bench.run(fn, 1), bench.run(fn, 2)
        pool.submit(first)
        assert begun.wait(10)
        pool.submit(second)
        assert pool.withdraw(second)
        assert not pool.withdraw(second)
        assert not pool.withdraw(first), "too late"
        go.set()
        assert [bench.value(r) for r in bench.take(1)] == [1]

    def test_a_waiting_generator_is_closed_on_a_worker(
        self, bench: Bench, pool: WorkerPool
    ) -> None:
        def fn(ctx: Any, n: int) -> Any:
            try:
                yield ctx.rfc("a")
            finally:
                closed.append(threading.current_thread().name)

        closed: list[str] = []
        run = bench.run(fn)
        pool.submit(run)
        bench.take(1)
        run.routine.dropped = True
        pool.close(run)
        eventually(lambda: closed)
        assert closed == ["understudy-worker-0"]

    def test_a_running_generator_is_closed_when_its_step_ends(
        self, bench: Bench, pool: WorkerPool
    ) -> None:
        def fn(ctx: Any, n: int) -> Any:
            try:
                begun.set()
                go.wait(10)
                yield ctx.rfc("a")
            finally:
                closed.set()

        begun, go, closed = threading.Event(), threading.Event(), threading.Event()
        run = bench.run(fn)
        pool.submit(run)
        assert begun.wait(10)
        run.routine.dropped = True
        pool.close(run)
        assert not closed.is_set()
        go.set()
        assert closed.wait(10)

    def test_no_wake_up_is_lost(self, bench: Bench, pool: WorkerPool) -> None:
        """Many short bursts, with threads falling idle in between."""

        def fn(ctx: Any, n: int) -> Any:
            return (yield ctx.rfc("a", n))

        rng = random.Random(1)
        for _ in range(200):
            runs = [bench.run(fn, n) for n in range(rng.randint(1, 12))]
            for run in runs:
                pool.submit(run)
                if rng.random() < 0.2:
                    pool.nudge()
            for result in bench.take(len(runs)):
                bench.settle(result.run, result)
                pool.submit(result.run)
            assert all(result.result.done is not None for result in bench.take(len(runs)))
        assert pool.backlog == 0

    def test_a_long_step_hands_out_what_it_has(self, bench: Bench, pool: WorkerPool) -> None:
        def fn(ctx: Any, n: int) -> Any:
            for i in range(1000):
                yield ctx.rfi("a", i)

        pool.submit(bench.run(fn))
        parts: list[StepReport] = []

        def last() -> bool:
            parts.extend(bench.results.take())
            return bool(parts) and parts[-1].final

        eventually(last)
        assert [part.final for part in parts] == [False, False, False, True]
        assert sum(len(part.result.commands) for part in parts) == 1000

    def test_measures_reach_the_node(self, bench: Bench, pool: WorkerPool) -> None:
        def fn(ctx: Any, n: int) -> int:
            return n

        for n in range(100):
            pool.submit(bench.run(fn, n))
        bench.take(100)
        steps = 0

        def measured() -> bool:
            nonlocal steps
            count, busy_ms = bench.results.take_measured()
            assert busy_ms >= 0
            steps += count
            return steps == 100

        eventually(measured)


class TestListening:
    """A thread without work listens in the place of the loop."""

    def test_what_it_hears_it_performs_without_being_called(
        self, bench: Bench, listeners: WorkerPool, hall: Hall
    ) -> None:
        def fn(ctx: Any, n: int) -> str:
            return threading.current_thread().name

        listeners.submit(bench.run(fn))
        names = [bench.value(bench.take(1)[0])]
        for _ in range(20):
            assert hall.wait() == names[0]
            assert not listeners.crowded
            hall.words.put(lambda: listeners.submit(bench.run(fn)))
            names.append(bench.value(bench.take(1)[0]))
        # what makes no work, as an answer that was waited for by nobody
        hall.wait()
        hall.words.put(lambda: None)
        hall.wait()
        assert len(set(names)) == 1
        assert hall.interrupted == 0

    def test_who_waits_is_called_for_what_others_submit(
        self, bench: Bench, listeners: WorkerPool, hall: Hall
    ) -> None:
        def fn(ctx: Any, n: int) -> int:
            return n

        listeners.submit(bench.run(fn, 0))
        bench.take(1)
        for n in range(1, 20):
            hall.wait()
            listeners.submit(bench.run(fn, n))
            assert bench.value(bench.take(1)[0]) == n
            assert hall.interrupted == n
        assert len(listeners._threads) == 1

    def test_where_there_is_nothing_to_listen_to_it_is_idle(
        self, bench: Bench, listeners: WorkerPool, hall: Hall
    ) -> None:
        def fn(ctx: Any, n: int) -> int:
            return n

        hall.closed = True
        for n in range(5):
            listeners.submit(bench.run(fn, n))
            assert bench.value(bench.take(1)[0]) == n
            eventually(lambda: listeners._active == 0)
            assert not listeners.crowded
        assert hall.interrupted == 0

    def test_only_one_listens(self, bench: Bench, listeners: WorkerPool, hall: Hall) -> None:
        everyone = threading.Barrier(4)

        def fn(ctx: Any, n: int) -> None:
            everyone.wait(10)

        for n in range(4):
            listeners.submit(bench.run(fn, n))

        def all_begun() -> bool:
            listeners.nudge()
            return listeners.backlog == 0

        eventually(all_begun)
        bench.take(4)
        hall.wait()
        eventually(lambda: listeners._active == 1)
        assert hall.most == 1
        # nobody hears anything for a while: all of them are idle
        hall.words.put(None)
        eventually(lambda: listeners._active == 0)
        assert not listeners.crowded

    def test_while_others_are_held_up_it_comes_for_the_rest(
        self, bench: Bench, listeners: WorkerPool, hall: Hall
    ) -> None:
        go = threading.Event()

        def fn(ctx: Any, n: int) -> int:
            if n:
                go.wait(10)
            return n

        for n in range(2):
            listeners.submit(bench.run(fn, n))
        assert bench.value(bench.take(1)[0]) == 0
        # the first blocks in the second run; one more comes, and ends
        listeners.submit(bench.run(fn, 0))

        def begun() -> bool:
            listeners.nudge()
            return listeners.backlog == 0

        eventually(begun)
        assert bench.value(bench.take(1)[0]) == 0
        hall.wait()
        assert len(listeners._threads) == 2
        assert not listeners.crowded
        listeners.submit(bench.run(fn, 0))
        # nobody comes by itself: who listens would only see it when its time is over
        eventually(lambda: listeners.crowded)
        eventually(begun)
        assert bench.value(bench.take(1)[0]) == 0
        assert hall.interrupted == 1
        assert len(listeners._threads) == 2
        go.set()
        assert bench.value(bench.take(1)[0]) == 1


class TestTrioLoop:
    def test_requests_and_trio_side_by_side(self, bench: Bench, loop: AsyncLoop) -> None:
        async def fn(ctx: Any, n: int) -> Any:
            await trio.sleep(0)
            value = await ctx.rfc("b")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, 0)
            event = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(event.wait)
                again = await ctx.rfc("c")
                event.set()
            return [n, value, again]

        run = bench.run(fn, 5)
        loop.submit(run)
        for _ in range(2):
            (result,) = bench.take(1)
            assert result.result.done is None
            bench.settle(run, result)
            loop.submit(run)
        (result,) = bench.take(1)
        assert bench.value(result) == [5, "value of root.1", "value of root.2"]

    def test_many_at_once(self, bench: Bench, loop: AsyncLoop) -> None:
        async def fn(ctx: Any, n: int) -> int:
            await trio.sleep(0.001)
            return n

        for n in range(100):
            loop.submit(bench.run(fn, n))
        assert sorted(bench.value(r) for r in bench.take(100)) == list(range(100))

    def test_calls_made_before_a_foreign_wait_go_out_at_once(
        self, bench: Bench, loop: AsyncLoop
    ) -> None:
        async def fn(ctx: Any, n: int) -> None:
            await ctx.rfi("b")
            await trio.sleep_forever()

        run = bench.run(fn)
        loop.submit(run)
        (report,) = eventually(bench.results.take)
        assert [command.id for command in report.result.commands] == ["root.1"]
        assert not report.final

    @pytest.mark.parametrize("where", ["request", "trio"])
    def test_a_drop_unwinds_scopes_and_nurseries(
        self, bench: Bench, loop: AsyncLoop, where: str
    ) -> None:
        async def child() -> None:
            try:
                await trio.sleep_forever()
            finally:
                log.append("child")

        async def fn(ctx: Any, n: int) -> None:
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(child)
                    await trio.lowlevel.checkpoint()
                    begun.set()
                    if where == "request":
                        await ctx.rfc("b")
                    else:
                        await trio.sleep_forever()
            finally:
                log.append("fn")

        log: list[str] = []
        begun = threading.Event()
        run = bench.run(fn)
        loop.submit(run)
        assert begun.wait(10)
        if where == "request":
            bench.take(1)
        run.routine.dropped = True
        loop.close(run)
        eventually(lambda: log == ["child", "fn"])
        assert self.works(bench, loop)

    def works(self, bench: Bench, loop: AsyncLoop) -> bool:
        async def other(ctx: Any, n: int) -> str:
            return "fine"

        bench.results.take()
        loop.submit(bench.run(other))
        return bool(bench.value(bench.take(1)[0]) == "fine")

    def test_a_functions_own_timeout_around_a_request(self, bench: Bench, loop: AsyncLoop) -> None:
        async def fn(ctx: Any, n: int) -> str:
            with trio.move_on_after(0.01):
                await ctx.rfc("never").options(timeout=5)
                return "answered"
            return "too late"

        run = bench.run(fn)
        loop.submit(run)
        asked, _ = bench.take(2)
        assert asked.result.commands
        assert run.routine._ended is not None
        assert bench.env.values.decode_value(run.routine._ended.value.data) == "too late"
        assert self.works(bench, loop)

    def test_a_drop_before_the_first_step(self, bench: Bench, loop: AsyncLoop) -> None:
        async def fn(ctx: Any, n: int) -> None:
            ran.append(n)

        ran: list[int] = []
        run = bench.run(fn)
        run.routine.dropped = True
        loop.submit(run)
        loop.close(run)
        assert self.works(bench, loop)
        assert ran == []

    def test_what_belongs_to_another_loop_fails_the_call(
        self, bench: Bench, loop: AsyncLoop
    ) -> None:
        async def fn(ctx: Any, n: int) -> None:
            import asyncio

            await asyncio.sleep(0)

        loop.submit(bench.run(fn))
        with pytest.raises(TypeError, match="asyncio"):
            bench.value(bench.take(1)[0])

    @pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt(), OSError("no")])
    def test_whatever_a_function_raises_the_loop_lives(
        self, bench: Bench, loop: AsyncLoop, error: BaseException
    ) -> None:
        async def child() -> None:
            raise error

        async def fn(ctx: Any, n: int) -> None:
            if n:
                raise error
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child)

        for n in (0, 1):
            loop.submit(bench.run(fn, n))
            (result,) = bench.take(1)
            assert result.result.done is not None
            assert result.result.done.error is not None
        assert self.works(bench, loop)
