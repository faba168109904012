"""Turns: few deliveries to a host and port at a time, and nothing kept of those that are over."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from understudy.edge.push.turns import Turns


async def test_few_at_a_time_to_each_host_and_port() -> None:
    turns, go_on = Turns(2), trio.Event()
    under_way: list[tuple[str, int]] = []

    async def deliver(host: str, port: int) -> None:
        async with turns.turn(host, port):
            under_way.append((host, port))
            await go_on.wait()

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(deliver, "hangs", 80)
        nursery.start_soon(deliver, "hangs", 8080)
        nursery.start_soon(deliver, "other", 80)
        await wait_all_tasks_blocked()
        assert sorted(under_way) == [("hangs", 80)] * 2 + [("hangs", 8080), ("other", 80)]
        assert len(turns) == 3
        go_on.set()
    assert len(under_way) == 7
    assert len(turns) == 0


async def test_one_that_is_canceled_while_it_waits_leaves_nothing() -> None:
    turns = Turns(1)
    async with turns.turn("hangs", 80):
        with trio.move_on_after(0):
            async with turns.turn("hangs", 80):
                raise AssertionError
        assert len(turns) == 1
    assert len(turns) == 0
