"""Tasks that fail, are canceled, or make calls that are refused."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from tests.support import eventually
from tests.unit.actors.executor.player import Play, gather
from understudy.retry import Constant
from understudy_actors.errors import CommandError, RequestError
from understudy_actors.interpreter.ports import LOOPS, LoopName


def test_a_refused_call_fails_the_task_that_awaits_it(play: Play) -> None:
    async def first(ctx: Any) -> str:
        await (await ctx.rfi("leaf").options(id="mine"))
        return "first"

    async def second(ctx: Any) -> str:
        request = ctx.rfi("other").options(id="mine")
        await asyncio.sleep(0.01)
        try:
            await request
        except CommandError as error:
            return f"refused {error.status}"
        return "second"

    async def third(ctx: Any) -> str:
        with suppress(RuntimeError):
            await ctx.rfc("leaf")
        return "third"

    async def root(ctx: Any) -> list[Any]:
        found = await asyncio.gather(first(ctx), second(ctx), third(ctx), return_exceptions=True)
        return [str(each) for each in found]

    player = play("asyncio", root)
    while not player.is_done():
        player.turn()
        for id in list(player.pending):
            player.settle(id)
    assert player.value[1:] == ["refused 409", "third"]


@pytest.mark.parametrize("name", LOOPS)
def test_a_drop_cancels_the_tasks(play: Play, name: LoopName) -> None:
    log: list[str] = []

    async def part(ctx: Any) -> None:
        try:
            await ctx.rfc("leaf")
        finally:
            log.append("task")

    async def root(ctx: Any) -> None:
        try:
            await gather(name, lambda: part(ctx), lambda: part(ctx))
        finally:
            log.append("root")

    player = play(name, root)
    while not player.waits:
        player.turn()
    player.routine.dropped = True
    player.loop.close(player.run)
    eventually(lambda: sorted(log) == ["root", "task", "task"])


def test_a_drop_cancels_tasks_that_nobody_waits_for(play: Play) -> None:
    log: list[str] = []

    async def lingers() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            log.append("task")

    async def root(ctx: Any) -> None:
        task = asyncio.create_task(lingers())
        await ctx.rfc("leaf")
        await task

    player = play("asyncio", root)
    player.turn_until(lambda: player.waits)
    player.routine.dropped = True
    player.loop.close(player.run)
    eventually(lambda: log == ["task"])


def test_tasks_left_behind_are_canceled_and_may_not_call(play: Play) -> None:
    log: list[str] = []

    async def lingers(ctx: Any) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            try:
                await ctx.rfc("leaf")
            except RequestError as error:
                log.append(str(error))

    async def root(ctx: Any) -> str:
        task = asyncio.create_task(lingers(ctx))
        await asyncio.sleep(0)
        assert not task.done()
        return "done"

    player = play("asyncio", root)
    while not player.is_done():
        player.turn()
    assert player.value == "done"
    eventually(lambda: log)
    assert "left behind" in log[0]
    assert not player.promises


def test_a_call_in_a_callback_is_refused(play: Play) -> None:
    caught: list[BaseException] = []

    def callback(ctx: Any) -> None:
        try:
            ctx.rfc("leaf")
        except RequestError as error:
            caught.append(error)

    async def other(ctx: Any) -> None:
        await asyncio.sleep(0)

    async def root(ctx: Any) -> None:
        task = asyncio.create_task(other(ctx))
        asyncio.get_running_loop().call_soon(callback, ctx)
        await task
        await asyncio.sleep(0)

    player = play("asyncio", root)
    while not player.is_done():
        player.turn()
    assert "outside of its own tasks" in str(caught[0])


def test_a_request_awaited_by_nobodys_task_is_refused(play: Play) -> None:
    async def foreign(request: Any) -> None:
        await request

    async def root(ctx: Any) -> str:
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        request = ctx.rfi("leaf")

        def start() -> None:
            task = asyncio.get_running_loop().create_task(foreign(request))
            task.add_done_callback(lambda task: done.set_result(str(task.exception())))

        asyncio.get_running_loop().call_soon(start)
        return await done

    player = play("asyncio", root)
    while not player.is_done():
        player.turn()
        for id in list(player.pending):
            player.settle(id)
    assert "in a task that its durable function has not started" in player.value


@pytest.mark.parametrize("error", [SystemExit(2), KeyboardInterrupt(), OSError("no")])
def test_a_task_that_ends_the_process_only_fails_its_run(play: Play, error: BaseException) -> None:
    async def part() -> None:
        raise error

    async def root(ctx: Any) -> str:
        try:
            await asyncio.create_task(part())
        except BaseException as caught:
            return type(caught).__name__
        return "nothing"

    player = play("asyncio", root)
    while not player.is_done():
        player.turn()
    assert player.value == type(error).__name__


def test_a_failed_task_without_calls_is_tried_again(play: Play) -> None:
    async def part() -> None:
        raise OSError("down")

    async def calls(ctx: Any) -> None:
        await ctx.rfi("leaf")
        raise OSError("down")

    async def without(ctx: Any) -> None:
        await asyncio.gather(part())

    async def with_calls(ctx: Any) -> None:
        await asyncio.gather(calls(ctx))

    for fn, retried in ((without, True), (with_calls, False)):
        player = play("asyncio", fn, retry=Constant(1, 5))
        while not player.at_end() or not (retried or player.is_done()):
            player.turn()
            for id in list(player.pending):
                player.settle(id)
        assert player.ended is not None
        assert (player.ended.result.retry_after_s is not None) == retried
