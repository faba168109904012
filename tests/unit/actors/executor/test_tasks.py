"""Coroutines that start tasks, on both loops: their calls have the same ids in every order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest
import trio

from tests.unit.actors.executor.player import Play, Player, gather
from tests.unit.actors.executor.rig import ExecutorRig
from tests.unit.actors.interpreter.harness import START
from understudy_actors.interpreter.ports import LOOPS, LoopName

NAME: ContextVar[str] = ContextVar("NAME", default="nobody")


def tree(name: LoopName, depth: int, chance: random.Random) -> Callable[[Any], Any]:
    """Return an async function that makes calls, and starts tasks that do so, as drawn once."""
    drawn = [
        (
            chance.choice(["call", "call", "all", "map", "begin", "tasks" if depth else "call"]),
            [tree(name, depth - 1, chance) for _ in range(3)] if depth else [],
        )
        for _ in range(chance.randint(1, 3))
    ]

    async def branch(ctx: Any) -> list[Any]:
        seen: list[Any] = []
        for kind, inner in drawn:
            try:
                if kind == "call":
                    seen.append(await ctx.rfc("leaf"))
                elif kind == "all":
                    calls = [ctx.rfi("leaf") for _ in range(2)]
                    seen.append(await ctx.all(calls, return_exceptions=True))
                elif kind == "map":
                    seen.append(await ctx.map("leaf", [1, 2], return_exceptions=True))
                elif kind == "begin":
                    begun = await ctx.rfi("leaf")
                    seen.append(await begun)
                else:
                    parts = (lambda fn=fn: fn(ctx) for fn in inner)
                    seen.append(await gather(name, *parts))
            except RuntimeError as error:
                seen.append(str(error))
            seen += [ctx.time, ctx.random.random()]
        return [repr(each) for each in seen]

    branch.__qualname__ = chance.choice(("buy", "pack", "ship"))
    return branch


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", LOOPS)
def test_the_order_of_results_and_a_crash_change_nothing(
    rig: ExecutorRig, play: Play, name: LoopName, seed: int
) -> None:
    fn = tree(name, 2, random.Random(seed))

    async def root(ctx: Any) -> Any:
        return await fn(ctx)

    # When a promise settles is part of the history, and the same in every order.
    at: dict[str, int] = {}

    def finish(player: Player, chance: random.Random, crash_after: int | None = None) -> bool:
        settlements = 0
        while not player.is_done():
            if player.pending and (player.waits or player.ended is not None):
                if settlements == crash_after:
                    return False
                id = chance.choice(player.pending)
                player.settle(id, at.setdefault(id, START + random.Random(id).randint(1, 1000)))
                settlements += 1
            else:
                player.turn()
        return True

    first = play(name, root)
    finish(first, random.Random(seed))
    ids = set(first.promises)
    for order in range(3):
        chance = random.Random(f"{seed} {order}")
        player = play(name, root)
        while not finish(player, chance, crash_after=chance.randint(0, 6)):
            history = list(player.promises.values())
            player.stop()
            player = play(name, root, history=history)
        assert player.value == first.value
        assert set(player.promises) == ids


@pytest.mark.parametrize("name", LOOPS)
def test_ids_say_which_task_has_made_a_call(play: Play, name: LoopName) -> None:
    async def fetch(ctx: Any) -> None:
        for _ in range(2):
            with suppress(RuntimeError):
                await ctx.rfc("leaf")

    async def root(ctx: Any) -> None:
        await gather(name, lambda: fetch(ctx), lambda: fetch(ctx))

    player = play(name, root)
    while not player.is_done():
        player.turn()
        for id in list(player.pending):
            player.settle(id)
    task = "fetch" if name == "asyncio" else "put"
    assert sorted(player.promises) == [f"root.{task}-{n}.{k}" for n in (1, 2) for k in (1, 2)]


@pytest.mark.parametrize("name", LOOPS)
def test_a_task_has_its_own_time_and_random_numbers(play: Play, name: LoopName) -> None:
    async def part(ctx: Any, calls: bool) -> tuple[float, float]:
        if calls:
            await ctx.all([ctx.rfi("leaf")], return_exceptions=True)
        return ctx.time, ctx.random.random()

    async def root(ctx: Any) -> list[Any]:
        parts = await gather(name, lambda: part(ctx, True), lambda: part(ctx, False))
        return [*parts, (ctx.time, ctx.random.random())]

    player = play(name, root)
    player.turn_until(lambda: player.waits)
    player.settle(player.pending[0], START + 7000)
    player.turn_until(player.is_done)
    times, numbers = zip(*player.value, strict=True)
    assert times == (START / 1000 + 7, START / 1000, START / 1000)
    assert len(set(numbers)) == 3


def test_requests_are_gathered_in_the_order_in_which_they_are_made(play: Play) -> None:
    async def root(ctx: Any) -> Any:
        return await asyncio.gather(*(ctx.rfc("leaf") for _ in range(3)), return_exceptions=True), (
            await asyncio.wait_for(ctx.promise(), 5)
        ).id

    player = play("asyncio", root)
    while not player.is_done():
        player.turn()
        for id in reversed(list(player.pending)):
            player.settle(id)
    values, promise = player.value
    assert [str(v).rpartition(" ")[2] for v in values] == ["root.1", "root.2", "root.3"]
    assert promise == "root.4"


class Doer:
    """An object whose repr differs from process to process."""

    async def __call__(self, ctx: Any) -> None:
        await ctx.rfi("leaf")


class Attributes(dict[str, Any]):
    """A dict whose items are attributes, and that fails for others."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


@pytest.mark.parametrize("name", LOOPS)
def test_the_names_of_tasks_are_those_of_their_code(play: Play, name: LoopName) -> None:
    async def takes(attributes: Attributes, ctx: Any) -> None:
        await ctx.rfi("leaf")

    async def root(ctx: Any) -> None:
        if name == "asyncio":
            await asyncio.gather(Doer()(ctx), takes(Attributes(), ctx))
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Doer(), ctx)
                nursery.start_soon(takes, Attributes(), ctx)

    player = play(name, root)
    player.turn_until(lambda: len(player.promises) == 2)
    assert sorted(player.promises) == ["root.__call__-1.1", "root.takes-1.1"]


@pytest.mark.parametrize("name", LOOPS)
def test_tasks_have_their_own_variables(play: Play, name: LoopName) -> None:
    async def part(ctx: Any, mine: str) -> str:
        NAME.set(mine)
        await ctx.rfi("leaf")
        return NAME.get()

    async def root(ctx: Any) -> list[str]:
        NAME.set("root")
        names = await gather(name, lambda: part(ctx, "a"), lambda: part(ctx, "b"))
        return [*names, NAME.get()]

    player = play(name, root)
    while not player.is_done():
        player.turn()
        for id in list(player.pending):
            player.settle(id)
    assert player.value == ["a", "b", "root"]
