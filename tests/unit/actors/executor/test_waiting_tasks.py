"""Tasks that wait: for promises, under a time limit, with their slot lent, or for the broker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio

from tests.support import eventually
from tests.unit.actors.executor.player import Play, gather
from understudy_actors.interpreter.ports import LOOPS, LoopName
from understudy_actors.interpreter.routine import UNANSWERED_MAX
from understudy_actors.lent_slots import while_lent


@pytest.mark.parametrize("name", LOOPS)
def test_a_run_says_whether_it_waits_for_promises(play: Play, name: LoopName) -> None:
    go_on: list[Callable[[], None]] = []

    async def waits(ctx: Any) -> None:
        await ctx.rfc("leaf")

    async def works() -> None:
        event = asyncio.Event() if name == "asyncio" else trio.Event()
        go_on.append(event.set)
        await event.wait()

    async def root(ctx: Any) -> str:
        await gather(name, lambda: waits(ctx), works)
        return "done"

    player = play(name, root)
    player.turn_until(lambda: bool(player.waits and go_on))
    player.settle(player.pending[0])
    player.turn_until(lambda: not player.waits)
    assert not player.at_end()
    player.loop.events.run_soon(go_on[0])
    while not player.is_done():
        player.turn()
    assert player.value == "done"


@pytest.mark.parametrize("name", LOOPS)
def test_a_time_limit_interrupts_a_wait_in_an_open_step(play: Play, name: LoopName) -> None:
    async def root(ctx: Any) -> str:
        try:
            if name == "asyncio":
                async with asyncio.timeout(0.05):
                    await ctx.promise().options(timeout=1)
                    await (await ctx.rfi("never").options(timeout=1))
            with trio.fail_after(0.05):
                await ctx.rfc("never").options(timeout=1)
        except (TimeoutError, trio.TooSlowError):
            return "too late"
        return "answered"

    player = play(name, root)
    while not player.waits:
        player.turn()
    assert not player.at_end(), "the lease is needed for what comes after the limit"
    while not player.at_end():
        player.turn()
    assert not player.is_done(), "it waits for the call that it has given up"
    for id in list(player.pending):
        player.settle(id)
    while not player.is_done():
        player.turn()
    assert player.value == "too late"


@pytest.mark.parametrize("name", LOOPS)
def test_what_settles_before_there_are_tasks_is_known_to_them(play: Play, name: LoopName) -> None:
    begun, settled_meanwhile = threading.Event(), threading.Event()

    async def root(ctx: Any) -> str:
        promise = await ctx.rfi("leaf")
        await (asyncio.sleep(0) if name == "asyncio" else trio.sleep(0))
        begun.set()
        assert settled_meanwhile.wait(10)

        async def part() -> None:
            with suppress(RuntimeError):
                await promise

        await gather(name, part)
        return "done"

    player = play(name, root)
    player.turn_until(lambda: bool(player.pending))
    assert begun.wait(10)
    player.settle(player.pending[0])
    settled_meanwhile.set()
    player.turn_until(player.is_done)
    assert player.value == "done"


@pytest.mark.parametrize("name", LOOPS)
def test_a_slot_is_lent_for_as_long_as_anything_in_the_run_waits(play: Play, name: str) -> None:
    gate = threading.Event()
    lent: list[str] = []

    def block() -> None:
        with while_lent():
            lent.append("thread")
            assert gate.wait(10)

    async def root(ctx: Any) -> int:
        in_thread = asyncio.to_thread if name == "asyncio" else trio.to_thread.run_sync
        with while_lent():
            await in_thread(block)
        return 3

    player = play(name, root)
    player.turn_until(lambda: player.waits)
    eventually(lambda: lent)
    assert not player.is_done()
    gate.set()
    player.turn_until(player.is_done)
    assert player.value == 3


@pytest.mark.parametrize("name", LOOPS)
def test_tasks_do_not_outrun_the_broker(play: Play, name: LoopName) -> None:
    count = UNANSWERED_MAX + 500

    async def part(ctx: Any) -> None:
        await ctx.rfi("leaf")

    async def root(ctx: Any) -> None:
        await gather(name, *(lambda: part(ctx) for _ in range(count)))

    player = play(name, root)
    player.answers = False
    eventually(
        lambda: player.rig.results and player.turn() and len(player.promises) > UNANSWERED_MAX
    )
    quiet = threading.Event()
    player.loop.call_after(50, quiet.set)
    assert quiet.wait(10)
    while player.rig.results:
        player.turn()
    assert len(player.promises) == UNANSWERED_MAX + 1
    player.answers = True
    player.routine.answered(len(player.promises))
    while len(player.promises) < count:
        player.turn()
