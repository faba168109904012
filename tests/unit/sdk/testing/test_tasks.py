"""The testing kit with functions whose tasks make calls, on both loops."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
import trio

from understudy import Context, NonDeterminismError, Runtime
from understudy.testing import Stage, crash_everywhere, record, replay
from understudy_actors.interpreter.ports import LOOPS, LoopName

DAY_S = 86_400
ledger: Counter[str] = Counter()


def step(ctx: Context, number: int) -> int:
    ledger[ctx.id] += 1
    return number * 2


async def member(ctx: Context, days: int) -> list[float]:
    found: list[float] = []
    for _ in range(2):
        await ctx.sleep(days * DAY_S)
        found.append(await ctx.rpc(step, days) + await ctx.run(step, days))
    return [*found, ctx.time, ctx.random.random()]


async def team_on_asyncio(ctx: Context, members: int) -> list[list[float]]:
    return list(await asyncio.gather(*(member(ctx, days) for days in range(members, 0, -1))))


async def team_on_trio(ctx: Context, members: int) -> list[list[float]]:
    found: dict[int, list[float]] = {}

    async def put(days: int) -> None:
        found[days] = await member(ctx, days)

    async with trio.open_nursery() as nursery:
        for days in range(members, 0, -1):
            nursery.start_soon(put, days)
    return [found[days] for days in range(members, 0, -1)]


TEAMS: dict[LoopName, Any] = {"asyncio": team_on_asyncio, "trio": team_on_trio}


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> LoopName:
    name: LoopName = request.param
    return name


@pytest.fixture
def runtime(loop: LoopName) -> Runtime:
    runtime = Runtime(group="shop", url="tcp://127.0.0.1:9", loop=loop)
    runtime.register(step)
    runtime.register(TEAMS[loop], name="team")
    ledger.clear()
    return runtime


def test_a_stage_skips_what_tasks_wait_for(runtime: Runtime) -> None:
    with Stage(runtime) as stage:
        began = stage.clock.time
        found = runtime.rpc("team-1", "team", 3).result()
        assert stage.clock.time - began == 6 * DAY_S
    assert [times - began for *_, times, _ in found] == [6 * DAY_S, 4 * DAY_S, 2 * DAY_S]
    assert [values[:2] for values in found] == [[12, 12], [8, 8], [4, 4]]
    assert set(ledger.values()) == {1}


def test_a_time_limit_of_the_loop_does_not_hold_up_a_stage(
    runtime: Runtime, loop: LoopName
) -> None:
    async def limited(ctx: Context) -> int:
        if loop == "asyncio":
            async with asyncio.timeout(3600):
                return await ctx.rpc(step, 21)
        with trio.fail_after(3600):
            await ctx.sleep(DAY_S)
            return await ctx.rpc(step, 21)

    runtime.register(limited)
    with Stage(runtime):
        assert runtime.rpc("limited-1", limited).result() == 42


def test_tasks_go_on_after_a_crash_at_every_step(runtime: Runtime, loop: LoopName) -> None:
    report = crash_everywhere.on(runtime)(TEAMS[loop], 2)
    assert [values[:2] for values in report.result] == [[8, 8], [4, 4]]


def test_changed_tasks_are_found_by_a_replay(runtime: Runtime, loop: LoopName) -> None:
    with Stage(runtime):
        runtime.rpc("team-1", "team", 2).result()
        history = record("team-1", runtime)
    (same,) = replay(history, TEAMS[loop], runtime=runtime, name="team")
    assert (same.calls, same.same_result) == (12, True)

    async def changed(ctx: Context, members: int) -> None:
        async def calls_first(days: int) -> None:
            await ctx.rpc(step, days)

        if loop == "asyncio":
            await asyncio.gather(*(calls_first(days) for days in range(members)))
        else:
            async with trio.open_nursery() as nursery:
                for days in range(members):
                    nursery.start_soon(calls_first, days)

    with pytest.raises(NonDeterminismError):
        replay(history, changed, runtime=runtime, name="team")
