"""Processes that are forked from a fork server: like started ones, only faster."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from tests.integration.actors.test_pool import PATIENCE_S, Lines, cut
from understudy_actors.processes import (
    Pool,
    ProcessSpec,
    RestartLimitError,
    RestartPolicy,
    open_pool,
)
from understudy_actors.processes.fork_client import EXIT_UNKNOWN
from understudy_actors.processes.fork_server import FORK_ENV, FORKING_SUPPORTED

pytestmark = pytest.mark.skipif(not FORKING_SUPPORTED, reason="processes are forked on Linux only")

SOON = RestartPolicy(initial_s=0, max_s=0, max_restarts=3)

#: imports once, forks, and waits for its end
APP = """
import os, random, signal, sys, time
{imports}
print("imported", flush=True)
from understudy_actors.processes.fork_server import fork_point
from understudy_actors.processes.lifeline import watch_lifeline
read = sys.stdin.read()
own = fork_point()
{forked}
print("own", own, os.getsid(0) == os.getpid(), read, flush=True)
print("random", random.random(), flush=True)
if own is not None:
    print("parent", os.getppid(), flush=True)
watch_lifeline(lambda: os._exit(0))
print("ready", flush=True)
while True:
    signal.pause()
"""


#: an import that opens a database; with a table, because an empty file is no database yet
SQLITE = """
import sqlite3
kept = sqlite3.connect(__file__ + ".db")
kept.execute("CREATE TABLE IF NOT EXISTS t (x)")
"""


def _spec(
    folder: Path,
    name: str = "a",
    *own_args: str,
    imports: str = "",
    forked: str = "",
    restart: RestartPolicy = SOON,
) -> ProcessSpec:
    app = folder / "app.py"
    text = APP.format(imports=imports, forked=forked)
    if not app.exists() or app.read_text() != text:
        app.write_text(text)
    return ProcessSpec(
        name=name,
        argv=[sys.executable, str(app)],
        own_args=own_args,
        forks=True,
        stdin_data=b"input",
        restart=restart,
        watches_lifeline=True,
    )


def _value(lines: Lines, name: str, key: str) -> list[str]:
    """The text that a process has written after `key`, in each of its runs."""
    return [line.removeprefix(f"{key} ") for line in lines.of(name) if line.startswith(f"{key} ")]


def _fork_server_pid(pool: Pool) -> int:
    (pid,) = pool.statistics().fork_servers
    return pid


async def test_one_import_serves_all_and_each_has_its_own_arguments(tmp_path: Path) -> None:
    lines = Lines()
    async with open_pool(on_line=lines) as pool:
        specs = [_spec(tmp_path, name, "--id", name) for name in ("a", "b")]
        await pool.prepare(specs)
        for spec in specs:
            await pool.start(spec)
            await lines.until(spec.name, "ready")
        assert _value(lines, "a", "own") == ["['--id', 'a'] True input"]
        assert _value(lines, "b", "own") == ["['--id', 'b'] True input"]
        assert [line for _, line in lines.seen].count("imported") == 1
        fork_server = _fork_server_pid(pool)
        assert _value(lines, "a", "parent") == _value(lines, "b", "parent") == [str(fork_server)]
        assert _value(lines, "a", "random") != _value(lines, "b", "random")
    with pytest.raises(ProcessLookupError):
        os.kill(fork_server, 0)


async def test_a_killed_process_is_forked_again_and_its_exit_code_is_known(tmp_path: Path) -> None:
    lines = Lines()
    async with open_pool(on_line=lines) as pool:
        handle = await pool.start(_spec(tmp_path))
        await lines.until("a", "ready")
        fork_server = _fork_server_pid(pool)
        assert handle.pid is not None
        os.kill(handle.pid, signal.SIGKILL)
        await lines.until("a", "ready", times=2)
        assert lines.of("pool") == ["a was killed by SIGKILL; starting it again in 0 s"]
        assert handle.statistics().exit_code == -9
        assert _fork_server_pid(pool) == fork_server
        assert len(set(_value(lines, "a", "random"))) == 2
    assert handle.exit_code == -signal.SIGTERM


async def test_exit_codes_arrive(tmp_path: Path) -> None:
    lines = Lines()
    async with open_pool(on_line=lines) as pool:
        await pool.start(_spec(tmp_path, forked="print('last words')\nraise SystemExit(2)"))
        with pytest.raises(RestartLimitError, match="usage error") as caught:
            with trio.fail_after(PATIENCE_S):
                await pool.wait()
    assert (caught.value.exit_code, caught.value.lines[-1]) == (2, "last words")


async def test_a_signal_right_after_the_fork_ends_the_child(tmp_path: Path) -> None:
    lines = Lines()
    signaled = "os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))"
    async with open_pool(on_line=lines) as pool:
        spec = _spec(tmp_path, imports=signaled, restart=RestartPolicy(max_restarts=0))
        handle = await pool.start(spec)
        with pytest.raises(RestartLimitError), trio.fail_after(PATIENCE_S):
            await pool.wait()
    assert handle.exit_code == -signal.SIGTERM
    assert "ready" not in lines.of("a")


async def test_a_dead_fork_server_is_replaced_and_its_children_live_on(tmp_path: Path) -> None:
    lines = Lines()
    async with open_pool(on_line=lines) as pool:
        handle = await pool.start(_spec(tmp_path))
        await lines.until("a", "ready")
        first, fork_server = handle.pid, _fork_server_pid(pool)
        assert first is not None
        os.kill(fork_server, signal.SIGKILL)
        with trio.fail_after(PATIENCE_S):
            while pool.statistics().fork_servers in ((), (fork_server,)):
                await trio.sleep(0.005)
        other = await pool.start(_spec(tmp_path, "b"))
        await lines.until("b", "ready")
        assert handle.pid == first
        assert _fork_server_pid(pool) != fork_server
        # The exit code is lost, but the exit is noticed.
        os.kill(first, signal.SIGKILL)
        await lines.until("a", "ready", times=2)
        assert handle.statistics().exit_code == EXIT_UNKNOWN
        assert other.restarts == 0


@pytest.mark.parametrize(
    ("imports", "why"),
    [
        (
            "import threading as t; t.Thread(target=signal.pause, name='p', daemon=True).start()",
            "a thread besides the main one (p)",
        ),
        ("import socket\nkept = socket.socket()", "an open socket"),
        ("import select\nkept = select.epoll()", "an open eventpoll"),
        (
            SQLITE,
            "an open SQLite database",
        ),
    ],
)
async def test_an_app_that_must_not_be_forked_is_started(
    imports: str, why: str, tmp_path: Path
) -> None:
    lines = Lines()
    async with open_pool(on_line=lines) as pool:
        for name in ("a", "b"):
            await pool.start(_spec(tmp_path, name, imports=imports))
            await lines.until(name, "ready")
            assert _value(lines, name, "own") == ["None True input"]
        (said,) = lines.of("pool")
        assert f"its import leaves {why} behind" in said


async def test_forking_can_be_turned_off(tmp_path: Path) -> None:
    lines = Lines()
    async with open_pool(on_line=lines) as pool:
        spec = replace(_spec(tmp_path), env={FORK_ENV: "0"})
        await pool.prepare([spec])
        await pool.start(spec)
        await lines.until("a", "ready")
        assert _value(lines, "a", "own") == ["None True input"]
        assert pool.statistics().fork_servers == ()


async def test_the_next_process_runs_changed_code(tmp_path: Path) -> None:
    lines = Lines()
    async with open_pool(on_line=lines) as pool:
        handle = await pool.start(_spec(tmp_path))
        await lines.until("a", "ready")
        app = tmp_path / "app.py"
        app.write_text(APP.format(imports="", forked="print('new code')"))
        assert handle.pid is not None
        os.kill(handle.pid, signal.SIGKILL)
        await lines.until("a", "ready", times=2)
        assert lines.of("a").count("new code") == 1
        assert any("app.py has changed" in line for line in lines.of("pool"))
        # The old fork server has ended, because it had no children left.
        assert len(pool.statistics().fork_servers) == 1


async def test_an_import_that_fails_is_reported_by_the_process(tmp_path: Path) -> None:
    lines = Lines()
    async with open_pool(on_line=lines) as pool:
        await pool.start(_spec(tmp_path, imports="raise LookupError('nothing there')"))
        with pytest.raises(RestartLimitError, match="LookupError: nothing there"):
            with trio.fail_after(PATIENCE_S):
                await pool.wait()
    assert lines.of("a").count("LookupError: nothing there") == 4, "once for each run, not more"


async def test_stopping_does_not_wait_for_an_import(tmp_path: Path) -> None:
    lines = Lines()
    with trio.fail_after(PATIENCE_S):
        async with (
            open_pool(on_line=lines, drain_timeout_s=5) as pool,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(pool.start, _spec(tmp_path, imports="signal.pause()"))
            while not pool.statistics().fork_servers:
                await trio.sleep(0.005)
            await pool.stop()
    (process,) = pool.statistics().processes
    assert process.state == "stopped"


async def test_children_notice_the_end_of_the_pool(tmp_path: Path) -> None:
    lines = Lines()
    async with open_pool(on_line=lines) as pool:
        handle = await pool.start(_spec(tmp_path, restart=RestartPolicy(max_restarts=0)))
        await lines.until("a", "ready")
        cut(handle)
        with pytest.raises(RestartLimitError), trio.fail_after(PATIENCE_S):
            await pool.wait()
    assert handle.exit_code == 0
