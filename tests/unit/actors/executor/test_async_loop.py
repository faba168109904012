"""The trio loop for coroutines."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
import trio

from tests.support import eventually
from tests.unit.actors.executor.rig import ExecutorRig
from tests.unit.actors.interpreter.harness import START
from understudy_actors.executor import AsyncLoop

NAME: ContextVar[str] = ContextVar("NAME", default="nobody")


@pytest.fixture
def loop(rig: ExecutorRig) -> Iterator[AsyncLoop]:
    loop = AsyncLoop(rig.results, lambda: START)
    yield loop
    loop.stop()
    assert loop._thread is None or not loop._thread.is_alive()


def test_requests_and_trio_side_by_side(rig: ExecutorRig, loop: AsyncLoop) -> None:
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

    run = rig.run(fn, 5)
    loop.submit(run)
    for _ in range(2):
        (result,) = rig.take(1)
        assert result.result.done is None
        rig.settle(run, result)
        if result.final:
            # Otherwise there is a task, the step is open, and news reach it by themselves.
            loop.submit(run)
    (result,) = rig.take(1)
    assert rig.value(result) == [5, "value of root.1", "value of root.2"]


def test_coroutines_side_by_side_keep_their_own_variables(
    rig: ExecutorRig, loop: AsyncLoop
) -> None:
    async def tell(names: list[str]) -> None:
        names.append(NAME.get())

    async def fn(ctx: Any, n: int) -> list[str]:
        NAME.set(f"run {n}")
        await ctx.rfc("b")
        names = [NAME.get()]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell, names)
        return names

    runs = [rig.run(fn, n) for n in range(3)]
    for run in runs:
        loop.submit(run)
    for report in rig.take(3):
        rig.settle(report.run, report)
    for run in reversed(runs):
        loop.submit(run)
    results = sorted(rig.value(report) for report in rig.take(3))
    assert results == [[f"run {n}"] * 2 for n in range(3)]


def test_a_coroutine_begins_with_the_variables_of_its_run(
    rig: ExecutorRig, loop: AsyncLoop
) -> None:
    async def fn(ctx: Any, n: int) -> str:
        return NAME.get()

    run = rig.run(fn)
    run.routine.variables.run(NAME.set, "ann")
    loop.submit(run)
    loop.submit(rig.run(fn))
    assert sorted(rig.value(report) for report in rig.take(2)) == ["ann", "nobody"]


def test_many_at_once(rig: ExecutorRig, loop: AsyncLoop) -> None:
    async def fn(ctx: Any, n: int) -> int:
        await trio.sleep(0.001)
        return n

    for n in range(100):
        loop.submit(rig.run(fn, n))
    assert sorted(rig.value(r) for r in rig.take(100)) == list(range(100))


def test_calls_made_before_another_await_go_out_at_once(rig: ExecutorRig, loop: AsyncLoop) -> None:
    async def fn(ctx: Any, n: int) -> None:
        await ctx.rfi("b")
        await trio.sleep_forever()

    run = rig.run(fn)
    loop.submit(run)
    (report,) = eventually(rig.results.take)
    assert [command.id for command in report.result.commands] == ["root.1"]
    assert not report.final


@pytest.mark.parametrize("where", ["request", "trio"])
def test_a_drop_unwinds_scopes_and_nurseries(rig: ExecutorRig, loop: AsyncLoop, where: str) -> None:
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
    run = rig.run(fn)
    loop.submit(run)
    assert begun.wait(10)
    if where == "request":
        rig.take(1)
    run.routine.dropped = True
    loop.close(run)
    eventually(lambda: log == ["child", "fn"])
    assert still_works(rig, loop)


def still_works(rig: ExecutorRig, loop: AsyncLoop) -> bool:
    async def other(ctx: Any, n: int) -> str:
        return "fine"

    rig.results.take()
    loop.submit(rig.run(other))
    return bool(rig.value(rig.take(1)[0]) == "fine")


def test_a_timeout_of_the_function_around_a_request(rig: ExecutorRig, loop: AsyncLoop) -> None:
    async def fn(ctx: Any, n: int) -> str:
        with trio.move_on_after(0.01):
            await ctx.rfc("never").options(timeout=5)
            return "answered"
        return "too late"

    run = rig.run(fn)
    loop.submit(run)
    asked, _ = rig.take(2)
    assert asked.result.commands
    assert run.routine.ended is not None
    assert rig.env.values.decode_value(run.routine.ended.value.data) == "too late"
    assert still_works(rig, loop)


def test_a_drop_before_the_first_step(rig: ExecutorRig, loop: AsyncLoop) -> None:
    async def fn(ctx: Any, n: int) -> None:
        ran.append(n)

    ran: list[int] = []
    run = rig.run(fn)
    run.routine.dropped = True
    loop.submit(run)
    loop.close(run)
    assert still_works(rig, loop)
    assert ran == []


def test_awaiting_something_of_another_loop_fails_the_call(
    rig: ExecutorRig, loop: AsyncLoop
) -> None:
    async def fn(ctx: Any, n: int) -> None:
        import asyncio

        await asyncio.sleep(0)

    loop.submit(rig.run(fn))
    with pytest.raises(TypeError, match="asyncio"):
        rig.value(rig.take(1)[0])


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt(), OSError("no")])
def test_the_loop_survives_any_error_of_a_function(
    rig: ExecutorRig, loop: AsyncLoop, error: BaseException
) -> None:
    async def child() -> None:
        raise error

    async def fn(ctx: Any, n: int) -> None:
        if n:
            raise error
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)

    for n in (0, 1):
        loop.submit(rig.run(fn, n))
        (result,) = rig.take(1)
        assert result.result.done is not None
        assert result.result.done.error is not None
    assert still_works(rig, loop)
