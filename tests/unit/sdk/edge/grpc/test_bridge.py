"""The bridge between the two loops: results, errors and cancellation cross it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
import trio

from understudy.edge.grpc.bridge import Bridge, BridgeClosedError


async def over(use: Callable[[Bridge], Awaitable[Any]]) -> Any:
    """Use a bridge on an asyncio loop in another thread."""

    async def main(bridge: Bridge) -> Any:
        return await use(bridge)

    async with trio.open_nursery() as nursery:
        bridge = Bridge(nursery)
        result = await trio.to_thread.run_sync(lambda: asyncio.run(main(bridge)))
        # Everything has ended by itself.
        with trio.fail_after(10):
            while nursery.child_tasks:
                await trio.testing.wait_all_tasks_blocked()
    return result


async def test_results_and_errors() -> None:
    async def add(a: int, b: int) -> int:
        await trio.sleep(0)
        return a + b

    async def fail(why: str) -> None:
        raise ValueError(why)

    async def use(bridge: Bridge) -> None:
        assert await bridge.call(add, 1, 2) == 3
        assert await asyncio.gather(*(bridge.call(add, n, n) for n in range(50))) == [
            2 * n for n in range(50)
        ]
        with pytest.raises(ValueError, match="why"):
            await bridge.call(fail, "why")

    await over(use)


async def test_a_call_that_is_canceled_ends_over_there() -> None:
    ended: list[str] = []
    began = trio.Event()

    async def wait() -> None:
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.append("wait")

    async def use(bridge: Bridge) -> None:
        task = asyncio.ensure_future(bridge.call(wait))
        await bridge.call(began.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    await over(use)
    assert ended == ["wait"]


async def test_parts_of_a_stream() -> None:
    sent: list[int] = []

    async def count(most: int, send: Callable[[int], Awaitable[None]]) -> None:
        for number in range(most):
            sent.append(number)
            await send(number)

    async def use(bridge: Bridge) -> list[int]:
        found = []
        async with aclosing(bridge.stream(count, 5)) as parts:
            async for part in parts:
                # Nothing is made before this part was taken.
                assert sent[-1] == part
                found.append(part)
        return found

    assert await over(use) == [0, 1, 2, 3, 4]


async def test_a_stream_that_fails() -> None:
    async def fail(send: Callable[[int], Awaitable[None]]) -> None:
        await send(1)
        raise ValueError("after one")

    async def use(bridge: Bridge) -> None:
        async with aclosing(bridge.stream(fail)) as parts:
            assert await anext(parts) == 1
            with pytest.raises(ValueError, match="after one"):
                await anext(parts)

    await over(use)


async def test_a_stream_that_is_left_ends_over_there() -> None:
    ended: list[str] = []

    async def endless(send: Callable[[int], Awaitable[None]]) -> None:
        try:
            while True:
                await send(1)
        finally:
            ended.append("endless")

    async def use(bridge: Bridge) -> None:
        async with aclosing(bridge.stream(endless)) as parts:
            async for _ in parts:
                break

    await over(use)
    assert ended == ["endless"]


async def test_a_bridge_whose_other_side_has_ended() -> None:
    async with trio.open_nursery() as nursery:
        bridge = Bridge(nursery)

    async def use() -> None:
        with pytest.raises(BridgeClosedError):
            await bridge.call(trio.sleep, 0)

    await trio.to_thread.run_sync(lambda: asyncio.run(use()))


async def test_the_other_side_ends_while_a_call_waits() -> None:
    began = trio.Event()

    async def wait() -> None:
        began.set()
        await trio.sleep_forever()

    async def use(bridge: Bridge) -> str:
        try:
            await bridge.call(wait)
        except BridgeClosedError:
            return "closed"
        return "performed"

    results: list[str] = []

    async def thread(bridge: Bridge) -> None:
        results.append(await trio.to_thread.run_sync(lambda: asyncio.run(use(bridge))))

    async with trio.open_nursery() as threads, trio.open_nursery() as nursery:
        threads.start_soon(thread, Bridge(nursery))
        await began.wait()
        nursery.cancel_scope.cancel()
    assert results == ["closed"]
