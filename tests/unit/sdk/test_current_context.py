"""Code that is not passed the context finds it, wherever its function runs it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import trio

import understudy
from understudy import Runtime
from understudy.testing import Stage


def here() -> str | None:
    ctx = understudy.current()
    return None if ctx is None else ctx.id


def plain(ctx: Any) -> list[str | None]:
    found: list[str | None] = [here()]
    thread = threading.Thread(target=lambda: found.append(here()))
    thread.start()
    thread.join()
    return found


def workflow(ctx: Any) -> Any:
    first = here()
    step = yield ctx.run(plain)
    yield ctx.sleep(0.001)
    return [first, step[0], here()]


async def with_asyncio(ctx: Any) -> list[str | None]:
    async def task() -> str | None:
        await asyncio.sleep(0)
        return here()

    first = here()
    await asyncio.sleep(0)
    return [first, here(), await asyncio.create_task(task()), await asyncio.to_thread(here)]


async def with_trio(ctx: Any) -> list[str | None]:
    found = [here()]

    async def task() -> None:
        await trio.lowlevel.checkpoint()
        found.append(here())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(task)
    return [*found, here(), await trio.to_thread.run_sync(here)]


@pytest.fixture(scope="module")
def runtime() -> Any:
    with Runtime.local() as runtime:
        for fn in (plain, workflow, with_trio):
            runtime.register(fn)
        runtime.register(loop="asyncio")(with_asyncio)
        yield runtime


def test_nobody_runs_here() -> None:
    assert here() is None


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (plain, ["x", None]),
        (workflow, ["x", "x.1", "x"]),
        (with_asyncio, ["x"] * 4),
        (with_trio, ["x"] * 4),
    ],
)
def test_a_function_finds_itself(runtime: Any, function: Any, found: list[str | None]) -> None:
    id_ = function.__name__
    expected = [each and each.replace("x", id_) for each in found]
    assert runtime.rpc(id_, function).result() == expected


def test_on_a_stage() -> None:
    runtime = Runtime("g")
    runtime.register(plain)
    with Stage(runtime):
        assert runtime.rpc("x", plain).result() == ["x", None]
