"""The embedded runtime: broker, store and node in this process."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support import eventually
from understudy import Context, Runtime
from understudy.errors import (
    CanceledError,
    ConfigurationError,
    DeadlineExceededError,
    WaitTimeoutError,
)
from understudy.retry import Constant, Never


def add(ctx: Context, a: int, b: int) -> int:
    return a + b


def tree(ctx: Context, depth: int) -> Any:
    if depth == 0:
        return 1
    left = yield ctx.rfi(tree, depth - 1)
    right = yield ctx.rfi(tree, depth - 1)
    return (yield left) + (yield right)


def approve(ctx: Context) -> Any:
    promise = yield ctx.promise(id=f"{ctx.id}/approval")
    return (yield promise)


def register_all(runtime: Runtime) -> Runtime:
    for fn in (add, tree, approve):
        runtime.register(fn)
    return runtime


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


def exists(runtime: Runtime, id: str = "x/approval") -> bool:
    return any(p.id == id for p in runtime.promises.search(prefix=id))


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
    assert runtime.schedules.create("s", "0 0 * * *", add, 1, 2) == made
    assert runtime.schedules.get("s") == made
    assert [s.id for s in runtime.schedules.search()] == ["s"]
    runtime.schedules.delete("s")
    assert list(runtime.schedules.search()) == []


class TestLifetime:
    def test_a_store_in_a_file_keeps_results(self, tmp_path: Path) -> None:
        for _ in range(2):
            with register_all(Runtime.local(str(tmp_path / "store.db"))) as runtime:
                assert runtime.rpc("x", add, 1, 2).result(10) == 3
                assert len(list(runtime.promises.search())) == 1

    def test_a_waiting_call_goes_on_after_a_restart(self, tmp_path: Path) -> None:
        path = str(tmp_path / "store.db")
        with register_all(Runtime.local(path)) as runtime:
            runtime.rpc("x", approve)
            eventually(lambda: exists(runtime))
        with register_all(Runtime.local(path)) as runtime:
            runtime.promises.resolve("x/approval", "late")
            assert runtime.get("x").result(20) == "late"

    def test_stop_and_start_again(self) -> None:
        runtime = register_all(Runtime.local())
        for n in range(2):
            runtime.start()
            assert runtime.rpc(f"x{n}", add, 1, 2).result(10) == 3
            runtime.stop()
        runtime.stop()

    def test_a_stop_lets_functions_finish(self) -> None:
        finished: list[int] = []
        begun, go = threading.Event(), threading.Event()

        def f(ctx: Context) -> None:
            begun.set()
            go.wait(10)
            finished.append(1)

        runtime = Runtime.local()
        runtime.register(f)
        runtime.start()
        runtime.rpc("x", f)
        assert begun.wait(10)
        threading.Timer(0.05, go.set).start()
        runtime.stop()
        assert finished == [1]


def test_a_function_that_blocks_the_async_loop_is_named(caplog: pytest.LogCaptureFixture) -> None:
    runtime = Runtime.local()
    release = threading.Event()

    @runtime.register
    async def blocking(_: Context) -> bool:
        return release.wait(20)

    def named() -> bool:
        return any(
            "blocking" in r.getMessage() and "held up" in r.getMessage() for r in caplog.records
        )

    try:
        handle = runtime.rpc("blocking", blocking)
        eventually(named, 20)
        release.set()
        assert handle.result(10) is True
    finally:
        release.set()
        runtime.stop()


def test_a_final_failure_is_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(_: Context) -> None:
        raise LookupError("no such order")

    caplog.set_level(logging.INFO)
    runtime = Runtime.local(retry=Never())
    runtime.register(fails)
    try:
        with pytest.raises(LookupError):
            runtime.rpc("fails-1", fails).result(20)
    finally:
        runtime.stop()
    [record] = [r for r in caplog.records if r.exc_info is not None]
    assert "fails fails-1 failed" in record.getMessage()
    assert record.exc_text is None or "understudy_actors" not in record.exc_text
    assert record.exc_info is not None
    assert record.exc_info[2] is not None
    assert record.exc_info[2].tb_frame.f_code.co_name == "fails"


def test_directories_of_killed_processes_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as sockets:
        monkeypatch.setattr(tempfile, "tempdir", folder)

        def left(name: str, age_s: float, *, alive: bool) -> Path:
            directory = Path(folder, name)
            directory.mkdir()
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(directory / "broker"))
            if alive:
                sockets.enter_context(listener).listen()
            else:
                listener.close()
            long_ago = time.time() - age_s
            os.utime(directory / "broker", (long_ago, long_ago))
            return directory

        dead = left(f"understudy-{'0' * 16}", 3600, alive=False)
        starting = left(f"understudy-{'1' * 16}", 1, alive=False)
        alive = left(f"understudy-{'2' * 16}", 3600, alive=True)
        foreign = left("understudy-of-somebody-else", 3600, alive=False)
        with Runtime.local() as runtime:
            own = Path(runtime.url.removeprefix("ipc://")).parent
            assert set(Path(folder).iterdir()) == {own, starting, alive, foreign}
        assert not dead.exists()


def test_a_log_handler_may_make_durable_calls() -> None:
    """A handler never runs under the lock of the loop, whose work it may wait for."""

    class Reporting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().endswith("failed"):
                threads.append(threading.current_thread().name)
                reports.append(runtime.rpc(f"report-{len(threads)}", add, len(threads), 0))

    def fail(ctx: Context) -> None:
        raise ValueError("no")

    threads: list[str] = []
    reports: list[Any] = []
    runtime = Runtime.local()
    runtime.register(add)
    failing = runtime.register(fail, retry=Never())
    logger, handler = logging.getLogger("understudy"), Reporting()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        with runtime:
            for number in range(10):
                with pytest.raises(ValueError, match="no"):
                    runtime.rpc(f"fail-{number}", failing).result(10)
            eventually(lambda: len(reports) == 10)
            assert [report.result(10) for report in reports] == list(range(1, 11))
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
    assert set(threads) == {"understudy"}


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
