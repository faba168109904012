"""The embedded runtime: calls, promises and schedules, with all of it in this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import trio

from tests.integration.sdk.functions import add, approve, exists, register_all, tree
from tests.support import eventually
from understudy import Context, Runtime
from understudy.errors import (
    CanceledError,
    CommandError,
    ConfigurationError,
    DeadlineExceededError,
)
from understudy.retry import Constant


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    with register_all(Runtime.local()) as runtime:
        yield runtime


class TestCalls:
    def test_from_several_threads(self, runtime: Runtime) -> None:
        def call(n: int) -> int:
            return runtime.rpc(f"t{n}", add, n, 1).result(10)

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(call, range(200))) == list(range(1, 201))

    def test_from_several_threads_before_the_start(self) -> None:
        runtime = register_all(Runtime.local())
        with ThreadPoolExecutor(8) as threads:
            calls = [threads.submit(runtime.rpc, f"t{n}", add, n, 1) for n in range(8)]
            assert [c.result().result(10) for c in calls] == list(range(1, 9))
        runtime.stop()

    async def test_under_trio(self) -> None:
        async with register_all(Runtime.local()) as runtime:
            handles = [runtime.rpc(f"t{n}", add, n, 1) for n in range(20)]
            with trio.fail_after(10):
                assert [await handle for handle in handles] == list(range(1, 21))
                await handles[0].wait_stored()

    def test_answers_are_awaited_while_calls_are_under_way(self) -> None:
        """An answer is awaited on the loop that asked, also while other calls are under way."""
        done: list[str] = []

        async def main(runtime: Runtime) -> None:
            runtime.rpc("x", approve)
            other = runtime.rpc("y", approve)
            done.append((await runtime.promises.get("x")).state)
            await other.cancel()
            done.append((await runtime.promises.get("y")).state)

        with register_all(Runtime.local()) as runtime:
            thread = threading.Thread(target=trio.run, args=(main, runtime), daemon=True)
            thread.start()
            thread.join(10)
            assert not thread.is_alive()
        assert done == ["pending", "canceled"]

    async def test_a_canceled_wait_under_trio_leaves_the_call_alone(self) -> None:
        async with register_all(Runtime.local()) as runtime:
            handle = runtime.rpc("x", approve)
            await handle.wait_stored()
            with trio.move_on_after(0.01) as scope:
                await handle
            assert scope.cancelled_caught
            wait = runtime.promises.resolve
            await trio.to_thread.run_sync(lambda: eventually(lambda: exists(runtime)))
            await trio.to_thread.run_sync(wait, "x/approval", "yes")
            with trio.fail_after(10):
                assert await handle == "yes"

    def test_under_asyncio(self) -> None:
        async def main() -> list[int]:
            async with register_all(Runtime.local()) as runtime:
                handles = [runtime.rpc(f"t{n}", add, n, 1) for n in range(20)]
                return list(await asyncio.wait_for(asyncio.gather(*map(wait, handles)), 10))

        async def wait(handle: Any) -> int:
            return int(await handle)

        assert asyncio.run(main()) == list(range(1, 21))

    def test_the_same_id_attaches(self, runtime: Runtime) -> None:
        first = runtime.rpc("x", approve)
        second = runtime.rpc("x", approve)
        third = runtime.get("x")
        fourth = runtime.run("x", approve)
        eventually(lambda: exists(runtime))
        runtime.promises.resolve("x/approval", [1])
        assert [h.result(10) for h in (first, second, third, fourth)] == [[1]] * 4
        assert runtime.rpc("x", approve).result(10) == [1], "and gives the stored result later"

    def test_run_is_performed_here(self, runtime: Runtime) -> None:
        handle = runtime.run("x", lambda ctx, n: [n, threading.current_thread().name], 3)
        assert handle.result(10) == [3, "understudy-worker-0"]

    def test_a_wait_for_a_result_has_a_timeout(self, runtime: Runtime) -> None:
        handle = runtime.rpc("x", approve)
        assert not handle.done()
        with pytest.raises(TimeoutError, match=r"still pending after 0\.01 s.*understudy tree x"):
            handle.result(timeout=0.01)
        eventually(lambda: exists(runtime))
        runtime.promises.resolve("x/approval")
        assert handle.result(timeout=10) is None
        assert handle.done()

    def test_a_timeout_error_of_the_function_is_its_own(self, runtime: Runtime) -> None:
        @runtime.register
        def f(ctx: Context) -> Any:
            yield ctx.sleep(0)
            raise TimeoutError("mine")

        with pytest.raises(TimeoutError, match="mine"):
            runtime.rpc("x", f).result(10)

    def test_fan_out(self, runtime: Runtime) -> None:
        assert runtime.rpc("x", tree, 6).result(20) == 64

    def test_many_steps_of_each_kind(self, runtime: Runtime) -> None:
        @runtime.register
        def many(ctx: Context) -> Any:
            local = yield ctx.all([ctx.lfi(add, n, 1) for n in range(300)])
            remote = yield ctx.map("add1", range(300), window=50)
            return sum(local) + sum(remote)

        runtime.register(lambda ctx, n: n + 1, name="add1")
        assert runtime.rpc("x", many).result(20) == 2 * sum(range(1, 301))

    def test_async_functions(self, runtime: Runtime) -> None:
        @runtime.register
        async def f(ctx: Context, n: int) -> list[int]:
            await trio.sleep(0.001)
            first = await ctx.rfi(add, n, 1)
            second = await ctx.lfc(g, n)
            await ctx.sleep(0.001)
            return [await first, second]

        async def g(ctx: Context, n: int) -> int:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep, 0)
                return await ctx.rfc(add, n, 10)
            raise AssertionError

        assert [runtime.rpc(f"x{n}", f, n).result(10) for n in range(10)] == [
            [n + 1, n + 10] for n in range(10)
        ]

    def test_tasks_of_a_function_may_await_requests(self, runtime: Runtime) -> None:
        @runtime.register
        async def f(ctx: Context) -> list[int]:
            sums: list[int] = []

            async def child(number: int) -> None:
                sums.append(await ctx.rpc(add, number, 2))

            async with trio.open_nursery() as nursery:
                for number in range(3):
                    nursery.start_soon(child, number)
            return sorted(sums)

        assert runtime.rpc("x", f).result(10) == [2, 3, 4]

    def test_blocking_functions_do_not_hold_up_others(self, runtime: Runtime) -> None:
        go = threading.Event()
        runtime.register(lambda ctx: go.wait(20), name="block")
        blocked = [runtime.rpc(f"b{n}", "block") for n in range(10)]
        assert runtime.rpc("x", add, 1, 2).result(10) == 3
        go.set()
        assert all(handle.result(10) for handle in blocked)

    def test_a_leaf_is_retried(self, runtime: Runtime) -> None:
        attempts: list[int] = []

        @runtime.register(retry=Constant(0.01, 5))
        def flaky(ctx: Context) -> int:
            attempts.append(ctx.info.attempt)
            if len(attempts) < 3:
                raise OSError
            return len(attempts)

        assert runtime.rpc("x", flaky).result(10) == 3
        assert attempts == [1, 2, 3]

    def test_dependencies(self, runtime: Runtime) -> None:
        runtime.set_dependency("db", {"k": 1})
        runtime.register(lambda ctx: ctx.get_dependency("db")["k"], name="get")
        runtime.register(lambda ctx: ctx.get_dependency("bd"), name="typo", retry=Constant(0, 1))
        assert runtime.rpc("x", "get").result(10) == 1
        with pytest.raises(ConfigurationError, match=r"no dependency 'bd'.*there are: db"):
            runtime.rpc("y", "typo").result(10)

    def test_a_durable_function_uses_the_runtime(self, runtime: Runtime) -> None:
        @runtime.register
        def outer(ctx: Context) -> int:
            return runtime.rpc("inner", add, 1, 2).result(10)

        assert runtime.rpc("x", outer).result(10) == 3


class TestDeadlines:
    def test_of_a_call(self, runtime: Runtime) -> None:
        handle = runtime.options(timeout=0.1).rpc("x", approve)
        with pytest.raises(DeadlineExceededError, match="'x' was not settled before its deadline"):
            handle.result(10)

    def test_a_sleep_after_blocking_work_is_as_long_as_asked(self, runtime: Runtime) -> None:
        @runtime.register
        def f(ctx: Context) -> Any:
            threading.Event().wait(0.2)
            began = time.monotonic()
            yield ctx.sleep(0.15)
            return time.monotonic() - began

        assert runtime.rpc("x", f).result(10) >= 0.14


class TestCancel:
    def test_a_whole_call_graph(self, runtime: Runtime) -> None:
        @runtime.register
        def parent(ctx: Context) -> Any:
            yield ctx.rfc(approve)

        handle = runtime.rpc("x", parent)
        eventually(lambda: exists(runtime, "x.1/approval"))
        handle.cancel()
        with pytest.raises(CanceledError, match="'x' was canceled"):
            handle.result(10)
        assert {p.id: p.state for p in runtime.promises.search()} == dict.fromkeys(
            ["x", "x.1", "x.1/approval"], "canceled"
        )

    def test_the_losers_of_a_race(self, runtime: Runtime) -> None:
        @runtime.register
        def race(ctx: Context) -> Any:
            slow = yield ctx.rfi(approve)
            quick = yield ctx.rfi(add, 1, 2)
            return (yield ctx.race([slow, quick], cancel=True))

        assert runtime.rpc("x", race).result(10) == 3
        assert runtime.promises.get("x.1").state == "canceled"

    def test_generators_are_closed(self, runtime: Runtime) -> None:
        closed = threading.Event()

        @runtime.register
        def f(ctx: Context) -> Any:
            try:
                yield (yield ctx.promise(id="p"))
            finally:
                closed.set()

        handle = runtime.rpc("x", f)
        eventually(lambda: exists(runtime, "p"))
        runtime.cancel("x")
        with pytest.raises(CanceledError):
            handle.result(10)
        assert closed.wait(10)


class TestPromises:
    def test_all_methods(self, runtime: Runtime) -> None:
        made = runtime.promises.create("p", timeout=60, tags={"kind": "a"}, value={"q": 1})
        assert (made.id, made.state, made.tags["kind"]) == ("p", "pending", "a")
        assert made.value() is None
        assert made.timeout_at - made.created_at == pytest.approx(
            timedelta(seconds=60), abs=timedelta(seconds=5)
        )
        assert runtime.promises.create("p") == made, "the same id again"
        done = runtime.promises.resolve("p", [1])
        assert done.value() == [1]
        assert done.settled_at is not None
        assert runtime.promises.resolve("p", [2]).value() == [1], "it stays as it is"
        runtime.promises.create("q")
        with pytest.raises(LookupError, match="why"):
            runtime.promises.reject("q", LookupError("why")).value()
        runtime.promises.create("r")
        with pytest.raises(RuntimeError, match="just text"):
            runtime.promises.reject("r", "just text").value()
        runtime.promises.create("s")
        with pytest.raises(CanceledError):
            runtime.promises.cancel("s").value()

    def test_search_goes_through_all_pages(self, runtime: Runtime) -> None:
        for n in range(25):
            runtime.promises.create(f"p{n:02}", tags={"odd": str(n % 2)})
        ids = [f"p{n:02}" for n in range(25)]
        assert [p.id for p in runtime.promises.search(limit=10)] == ids
        assert [p.id for p in runtime.promises.search(tags={"odd": "1"}, limit=5)] == ids[1::2]
        assert [p.id for p in runtime.promises.search(prefix="p1", state="pending")] == ids[10:20]
        with pytest.raises(ConfigurationError, match="limit=0"):
            list(runtime.promises.search(limit=0))

    def test_calls_show_their_function(self, runtime: Runtime) -> None:
        runtime.rpc("x", add, 1, 2).result(10)
        assert runtime.promises.get("x").function == "add"
        assert runtime.promises.get("x").value() == 3


def test_schedules(runtime: Runtime) -> None:
    made = runtime.options(tags={"k": "v"}).schedules.create("s", "* * * * *", add, 1, b=2)
    assert made.next_run_at > datetime.now(UTC)
    assert made.tags["k"] == "v"
    tagged = runtime.options(tags={"k": "v"}).schedules
    assert tagged.create("s", "* * * * *", add, 1, b=2) == made
    with pytest.raises(CommandError, match=r"another cron: '\* \* \* \* \*' is stored.*409"):
        tagged.create("s", "0 0 * * *", add, 1, b=2)
    with pytest.raises(CommandError, match=r"other arguments: .*\"b\": 2.* are stored"):
        tagged.create("s", "* * * * *", add, 1, b=3)
    with pytest.raises(CommandError, match="another tags"):
        runtime.schedules.create("s", "* * * * *", add, 1, b=2)
    assert runtime.schedules.get("s") == made
    local = tagged.options(zone="Europe/Vienna", overlap="skip", catch_up=3600, replace=True)
    changed = local.create("s", "0 3 * * *", add, 1, b=3)
    assert (changed.zone, changed.overlap, changed.catch_up) == ("Europe/Vienna", "skip", 3600.0)
    assert {
        at.astimezone(ZoneInfo("Europe/Vienna")).hour for at in runtime.schedules.next("s")
    } == {3}
    call_id = runtime.schedules.trigger("s")
    assert runtime.get(call_id).result(10) == 4
    until = datetime.now(UTC) + timedelta(hours=1)
    paused = runtime.schedules.pause("s", "why", until=until)
    assert (paused.pause_reason, paused.last_id) == ("why", call_id)
    assert paused.paused_until is not None
    assert abs(paused.paused_until - until) < timedelta(milliseconds=1)
    assert runtime.schedules.resume("s").paused_at is None
    assert runtime.schedules.update("s", jitter=5, timeout=9).timeout_s == 9.0
    assert [s.id for s in runtime.schedules.search()] == ["s"]
    runtime.schedules.delete("s")
    assert list(runtime.schedules.search()) == []
