"""Plain functions that wait on their thread for calls to their own group."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import trio

from tests.integration.sdk.functions import add
from understudy import Context, Runtime
from understudy.errors import WaitTimeoutError
from understudy.retry import Never


class TestFunctionsThatWaitOnTheirThread:
    """A plain function that waits for a call to its own group lends its slot to it."""

    def test_one_slot_is_enough(self) -> None:
        runtime = Runtime.local(retry=Never(), concurrency=1)

        @runtime.register
        def count_down(ctx: Context, n: int) -> int:
            if n == 0:
                return 0
            return runtime.rpc(f"{ctx.id}/{n}", count_down, n - 1).result(20) + 1

        with runtime:
            assert runtime.rpc("count", count_down, 12).result(30) == 12
            # Afterwards there is one slot again, and it is free.
            assert runtime.rpc("again", count_down, 0).result(10) == 0

    @pytest.mark.parametrize("run", [asyncio.run, trio.run])
    def test_on_a_loop_of_its_own(self, run: Any) -> None:
        runtime = Runtime.local(retry=Never(), concurrency=1)
        runtime.register(add)

        @runtime.register
        def outer(ctx: Context) -> int:
            async def main() -> int:
                first = runtime.rpc("first", add, 1, 2)
                second = runtime.rpc("second", add, 3, 4)
                return await first + await second

            result: int = run(main) if run is trio.run else run(main())
            return result

        with runtime:
            assert runtime.rpc("outer", outer).result(20) == 10

    def test_a_time_limit_counts_from_the_call(self) -> None:
        runtime = Runtime.local(retry=Never(), concurrency=1)

        @runtime.register
        def outer(ctx: Context) -> str:
            runtime.promises.create("never")
            with pytest.raises(WaitTimeoutError):
                runtime.get("never").result(0.1)
            return "on time"

        with runtime:
            assert runtime.rpc("outer", outer).result(20) == "on time"

    def test_many_at_once(self) -> None:
        runtime = Runtime.local(retry=Never(), concurrency=2)
        runtime.register(add)

        @runtime.register
        def outer(ctx: Context, n: int) -> int:
            return runtime.rpc(f"inner-{n}", add, n, 1).result(30)

        with runtime:
            handles = [runtime.rpc(f"outer-{n}", outer, n) for n in range(40)]
            assert [handle.result(30) for handle in handles] == list(range(1, 41))
