"""Changed code of tasks: no recorded call is made a second time, and the way back goes on."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Any

import pytest
import trio

from tests.unit.actors.executor.player import Play, gather
from tests.unit.actors.executor.rig import ExecutorRig
from understudy_actors.interpreter.ports import LOOPS, LoopName
from understudy_store.records import PromiseRecord


@pytest.mark.parametrize("name", LOOPS)
def test_a_changed_call_of_a_task_is_found_before_it_is_made(
    rig: ExecutorRig, play: Play, name: LoopName
) -> None:
    called = "old"
    seen: list[str] = []

    async def part(ctx: Any) -> None:
        try:
            await ctx.rfc(called)
        except BaseException as error:
            seen.append(type(error).__name__)
            raise

    async def root(ctx: Any) -> None:
        await gather(name, lambda: part(ctx))

    first = play(name, root)
    while not first.waits:
        first.turn()
    history = list(first.promises.values())
    first.stop()
    seen.clear()
    called = "new"
    player = play(name, root, history=history)
    while not player.at_end():
        player.turn()
    assert player.ended is not None
    mismatch = player.ended.result.mismatch
    assert mismatch is not None
    assert "rpc old" in str(mismatch)
    assert "rpc new" in str(mismatch)
    assert not player.ended.result.commands
    assert seen == [], "the task could catch it, and go on"


@pytest.mark.parametrize("name", LOOPS)
def test_a_renamed_task_makes_no_calls_and_the_way_back_goes_on(play: Play, name: LoopName) -> None:
    async def buy(ctx: Any) -> None:
        for _ in range(2):
            with suppress(RuntimeError):
                await ctx.rfc("leaf")

    async def purchase(ctx: Any) -> None:
        await buy(ctx)

    tasks = [buy]

    async def root(ctx: Any) -> None:
        if name == "asyncio":
            await asyncio.gather(*(task(ctx) for task in 2 * tasks))
            return
        async with trio.open_nursery() as nursery:
            for task in 2 * tasks:
                nursery.start_soon(task, ctx)

    first = play(name, root)
    first.turn_until(lambda: first.waits)
    first.settle("root.buy-1.1")
    first.turn_until(lambda: "root.buy-1.2" in first.promises)
    history = list(first.promises.values())
    first.stop()
    tasks[:] = [purchase]
    changed = play(name, root, history=history)
    changed.turn_until(changed.at_end)
    assert changed.ended is not None
    mismatch = str(changed.ended.result.mismatch)
    assert re.search(r"as root\.purchase-\d\.1, in a task that the history does not", mismatch)
    assert list(changed.promises.values()) == history
    changed.stop()
    tasks[:] = [buy]
    back = play(name, root, history=history)
    while not back.is_done():
        if back.pending and back.waits:
            back.settle(back.pending[0])
        else:
            back.turn()
    assert set(back.promises) == {f"root.buy-{task}.{call}" for task in (1, 2) for call in (1, 2)}


def test_a_new_task_may_call_once_the_recorded_ones_have_begun(play: Play) -> None:
    async def early(ctx: Any) -> Any:
        return await ctx.rfc("leaf")

    async def late(ctx: Any) -> Any:
        return await ctx.rfc("leaf")

    async def root(ctx: Any) -> Any:
        first = asyncio.create_task(early(ctx)) if history else None
        for _ in range(5):
            await asyncio.sleep(0)
        second = asyncio.create_task(late(ctx))
        return [await (first or asyncio.create_task(early(ctx))), await second]

    history: list[PromiseRecord] = []
    player = play("asyncio", root)
    player.turn_until(lambda: "root.late-1.1" in player.promises)
    history.append(player.promises["root.late-1.1"])
    player.stop()
    again = play("asyncio", root, history=history)
    again.turn_until(lambda: "root.early-1.1" in again.promises)
    assert again.ended is None


@pytest.mark.parametrize("name", LOOPS)
def test_a_changed_call_under_a_scope_harms_no_other_run(
    rig: ExecutorRig, play: Play, name: LoopName
) -> None:
    called = "old"

    async def root(ctx: Any) -> None:
        if name == "asyncio":
            async with asyncio.timeout(3600), asyncio.TaskGroup():
                await ctx.rfc(called)
        with trio.move_on_after(3600):
            async with trio.open_nursery():
                await ctx.rfc(called)

    async def other(ctx: Any, number: int) -> str:
        return "fine"

    first = play(name, root)
    first.turn_until(lambda: first.waits)
    history = list(first.promises.values())
    first.stop()
    called = "new"
    player = play(name, root, history=history)
    player.turn_until(player.at_end)
    assert player.ended is not None
    assert player.ended.result.mismatch is not None
    player.routine.dropped = True
    player.loop.close(player.run)
    run = rig.run(other)
    run.routine.function.loop = name  # type: ignore[misc]
    player.loop.submit(run)
    assert rig.value(rig.take(1)[0]) == "fine"
