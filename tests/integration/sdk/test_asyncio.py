"""Durable functions on asyncio: libraries, tasks, time limits, and a process that is killed."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import trio

from tests.support import eventually, finish, start_script
from understudy import Context, Never, Runtime
from understudy_actors.interpreter.ports import LOOPS, LoopName

PATIENCE_S = 30


class Greeter(BaseHTTPRequestHandler):
    """Answers every request with the last part of its path."""

    def do_GET(self) -> None:
        body = self.path.rpartition("/")[2].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Greeter) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    """A node with one slot, so that a function that keeps it would block what it waits for."""
    with Runtime.local(loop="asyncio", concurrency=1, retry=Never()) as runtime:

        @runtime.register
        async def double(ctx: Context, number: int) -> int:
            await asyncio.sleep(0)
            return number * 2

        yield runtime


def test_libraries_for_asyncio_and_calls_in_tasks(runtime: Runtime, url: str) -> None:
    @runtime.register
    async def fetch(ctx: Context) -> list[list[Any]]:
        async def by_httpx(number: int) -> list[Any]:
            answer = await client.get(f"{url}/{number}")
            return [answer.text, await ctx.rpc("double", number)]

        async def by_aiohttp(number: int) -> list[Any]:
            async with session.get(f"{url}/{number}") as answer:
                return [await answer.text(), await ctx.rpc("double", number)]

        async with httpx.AsyncClient() as client, aiohttp.ClientSession() as session:
            first = await asyncio.gather(*(by_httpx(number) for number in range(3)))
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(by_aiohttp(number)) for number in range(3)]
            return [*first, *(task.result() for task in tasks)]

    found = runtime.rpc("fetch-1", fetch).result(PATIENCE_S)
    assert found == [[str(number), number * 2] for number in range(3)] * 2
    ids = sorted(promise.id for promise in runtime.promises.search(prefix="fetch-1."))
    assert ids == [f"fetch-1.by_{name}-{n}.1" for name in ("aiohttp", "httpx") for n in (1, 2, 3)]


def test_a_function_may_say_which_loop_it_wants(runtime: Runtime) -> None:
    @runtime.register(loop="trio")
    async def on_trio(ctx: Context) -> int:
        with trio.fail_after(PATIENCE_S):
            return await ctx.run(helper) + int(await ctx.rpc("double", 1))

    async def helper(ctx: Context) -> int:
        await asyncio.sleep(0)  # it is not registered, so the runtime's loop counts
        return 40

    assert runtime.rpc("trio-1", on_trio).result(PATIENCE_S) == 42


@pytest.mark.parametrize(
    ("loop", "wrong"), [("trio", lambda: asyncio.sleep(1)), ("asyncio", lambda: trio.sleep(1))]
)
def test_the_other_loop_is_named_to_those_who_need_it(
    runtime: Runtime, loop: Any, wrong: Any
) -> None:
    @runtime.register(loop=loop)
    async def mistaken(ctx: Context) -> None:
        await wrong()

    other = "asyncio" if loop == "trio" else "trio"
    with pytest.raises(RuntimeError) as caught:
        runtime.rpc(f"mistaken-{loop}", mistaken).result(PATIENCE_S)
    assert any(f'loop="{other}"' in note for note in caught.value.__notes__)


@pytest.mark.parametrize("name", LOOPS)
def test_a_function_that_awaits_a_handle_keeps_no_slot(runtime: Runtime, name: LoopName) -> None:
    in_thread = asyncio.to_thread if name == "asyncio" else trio.to_thread.run_sync

    @runtime.register(loop=name)
    async def outer(ctx: Context, way: str) -> int:
        if way == "direct":
            return int(await runtime.rpc(f"{ctx.id}.in", "double", 2))
        if way == "nested":
            return int(await runtime.rpc(f"{ctx.id}.in", "outer", "direct"))
        return int(await in_thread(runtime.rpc(f"{ctx.id}.in", "double", 2).result))

    for way in ("direct", "nested", "thread"):
        assert runtime.rpc(f"wait-{way}", "outer", way).result(PATIENCE_S) == 4


def test_handles_may_be_gathered(runtime: Runtime) -> None:
    @runtime.register
    async def outer(ctx: Context) -> list[int]:
        handles = [runtime.rpc(f"{ctx.id}.{number}", "double", number) for number in range(3)]
        return list(await asyncio.gather(*handles))

    assert runtime.rpc("gather-1", "outer").result(PATIENCE_S) == [0, 2, 4]


def test_a_request_may_be_made_a_task(runtime: Runtime) -> None:
    create_task: Any = asyncio.create_task  # which wants a coroutine, says its type

    @runtime.register
    async def outer(ctx: Context) -> list[int]:
        async with asyncio.TaskGroup() as group:
            begin: Any = group.create_task
            tasks = [begin(ctx.rpc("double", number)) for number in range(2)]
        alone = create_task(ctx.rpc("double", 2), name="alone")
        return [*(task.result() for task in tasks), await alone]

    assert runtime.rpc("tasks-1", "outer").result(PATIENCE_S) == [0, 2, 4]
    assert sorted(promise.id for promise in runtime.promises.search(prefix="tasks-1.")) == [
        "tasks-1.1", "tasks-1.2", "tasks-1.3",
    ]  # fmt: skip


def test_a_time_limit_of_the_loop_outlasts_the_linger(runtime: Runtime) -> None:
    """A call that waits is suspended after a moment; this one must not be."""

    @runtime.register
    async def impatient(ctx: Context) -> str:
        try:
            async with asyncio.timeout(0.5):
                await (await ctx.promise(timeout=5))
        except TimeoutError:
            return f"too late, {await ctx.rpc('double', 21)}"
        return "answered"

    assert runtime.rpc("impatient-1", impatient).result(PATIENCE_S) == "too late, 42"


AGENT = """
import asyncio, json, os, sys, time
from understudy import Runtime

runtime = Runtime.local(sys.argv[1], loop="asyncio")
steps = sys.argv[2]

def note(ctx, name):
    with open(steps, "a") as file:
        file.write(f"{name}\\n")
    return name

async def work(ctx, worker):
    done = []
    for number in range(4):
        await asyncio.sleep(0.01 * (worker + 1))
        done.append(await ctx.run(note, f"{worker}.{number}"))
    return done, ctx.time, ctx.random.random()

@runtime.register
async def team(ctx):
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work(ctx, worker)) for worker in range(3)]
    return [task.result() for task in tasks]

with runtime:
    print(json.dumps(runtime.rpc("team-1", team).result(30)))
"""


def has_lines(path: Path, count: int) -> bool:
    return path.exists() and len(path.read_text().split()) >= count


def test_a_killed_process_goes_on_with_every_task(tmp_path: Path) -> None:
    steps = tmp_path / "steps"
    args = (tmp_path / "agent.py", AGENT, str(tmp_path / "calls.db"), str(steps))
    for kill_at in (3, 7):
        process = start_script(*args)
        eventually(partial(has_lines, steps, kill_at), 30)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    code, out, err = finish(start_script(*args), 60)
    assert code == 0, err
    found = json.loads(out)
    assert [done for done, _, _ in found] == [[f"{w}.{n}" for n in range(4)] for w in range(3)]
    counts = Counter(steps.read_text().split())
    assert set(counts) == {f"{w}.{n}" for w in range(3) for n in range(4)}
    # Each kill may hit a step of each task between its work and the commit of its result.
    assert max(counts.values()) <= 3
    assert counts.total() <= 12 + 2 * 3


SPAWN = """
import asyncio
from pathlib import Path
from understudy import Never, Runtime

runtime = Runtime.local(loop="asyncio", retry=Never())

@runtime.register
async def fails(ctx):
    await asyncio.sleep(0)
    raise ConnectionError(f"attempt {ctx.info.attempt}")

if __name__ == "__main__":
    with runtime:
        runtime.spawn("workers")
        try:
            runtime.options(target="workers").rpc("f", fails).result(30)
        except ConnectionError as error:
            Path(__file__).with_name("told").write_text(str(error))
"""


def test_spawned_nodes_have_the_loop_and_the_policy_of_the_runtime(tmp_path: Path) -> None:
    code, _, err = finish(start_script(tmp_path / "spawn.py", SPAWN), 60)
    assert code == 0, err
    # Not printed, because the output of the node may stand within a line.
    assert (tmp_path / "told").read_text() == "attempt 1"
