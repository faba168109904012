"""Terminals that close, as at the end of an ssh session: everything stops in order."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.programs import (
    PATIENCE_S,
    Program,
    environment,
    wait_until,
)
from tests.support import free_url
from understudy import Runtime

EXIT_HANGUP = 129

APP = """
import signal, sys, time
from pathlib import Path

from understudy import Context, Never, Runtime

runtime = Runtime(group="g", retry=Never())
if Path("handles").exists():
    signal.signal(signal.SIGHUP, lambda *_: Path("handled").touch())

@runtime.register
def wait(ctx: Context) -> str:
    Path("began").touch()
    while not Path("go").exists():
        print("waiting", flush=True)
        time.sleep(0.01)
    return "done"
"""

#: Makes its standard input the terminal of a session of its own, and becomes a command.
ON_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "understudy", *sys.argv[1:]])
"""

COMMANDS = {
    "node": ("node", "app"),
    "spawn": ("spawn", "app", "--group", "g", "--nodes", "1"),
    "up": ("up",),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    topology = '[[group]]\nname = "g"\napp = "app:runtime"\nnodes = 1\n'
    (tmp_path / "topology.toml").write_text(topology)
    return tmp_path


@contextmanager
def hangups(action: Any) -> Iterator[None]:
    """Have the programs that the block starts begin with this action for SIGHUP."""
    before = signal.signal(signal.SIGHUP, action)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def begin(folder: Path, calls: Runtime, problem: Callable[[], str]) -> None:
    """Begin a call that goes on until ``go`` exists."""
    calls.rpc("w-1", "wait")
    wait_until((folder / "began").exists, problem)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.skipif(sys.platform != "linux", reason="terminals differ")
def test_a_terminal_that_closes_stops_in_order(
    folder: Path, url: str, calls: Runtime, command: str
) -> None:
    terminal, inner = pty.openpty()
    with hangups(signal.SIG_DFL):
        process = subprocess.Popen(
            [sys.executable, "-c", ON_TERMINAL, *COMMANDS[command]],
            cwd=folder,
            env=environment(UNDERSTUDY_URL=url),
            stdin=inner,
            stdout=inner,
            stderr=inner,
        )
    os.close(inner)
    try:
        begin(folder, calls, lambda: f"{command} has not begun the call")
        os.close(terminal)
        (folder / "go").touch()
        assert process.wait(PATIENCE_S) == EXIT_HANGUP
        assert calls.get("w-1").result(PATIENCE_S) == "done"
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


@pytest.mark.parametrize("command", ["node", "spawn"])
def test_more_hangups_are_the_same_request(
    folder: Path, url: str, calls: Runtime, command: str
) -> None:
    with hangups(signal.SIG_DFL):
        program = Program(*COMMANDS[command], cwd=folder, UNDERSTUDY_URL=url)
    with program:
        begin(folder, calls, lambda: program.output)
        program.process.send_signal(signal.SIGHUP)
        program.wait_for("stopping once the running calls (1) have ended")
        program.process.send_signal(signal.SIGHUP)
        (folder / "go").touch()
        assert program.wait_for_exit() == EXIT_HANGUP
    assert calls.get("w-1").result(PATIENCE_S) == "done"


@pytest.mark.parametrize("command", ["node", "spawn"])
def test_hangups_that_are_ignored_stay_ignored(
    folder: Path, url: str, calls: Runtime, command: str
) -> None:
    with hangups(signal.SIG_IGN):
        program = Program(*COMMANDS[command], cwd=folder, UNDERSTUDY_URL=url)
    with program:
        begin(folder, calls, lambda: program.output)
        (folder / "go").touch()
        program.process.send_signal(signal.SIGHUP)
        assert program.stop(signal.SIGTERM) == 128 + signal.SIGTERM  # and not of the first


def test_an_app_keeps_its_own_handler(folder: Path, url: str, calls: Runtime) -> None:
    (folder / "handles").touch()
    with Program("node", "app", cwd=folder, UNDERSTUDY_URL=url) as node:
        begin(folder, calls, lambda: node.output)
        node.process.send_signal(signal.SIGHUP)
        wait_until((folder / "handled").exists, lambda: node.output)
        (folder / "go").touch()
        assert node.stop() == 128 + signal.SIGTERM


def test_a_broker_stops_in_order(folder: Path) -> None:
    with hangups(signal.SIG_DFL):
        program = Program("broker", "--listen", free_url(), "--store", "memory", cwd=folder)
    with program:
        program.wait_for("listening on")
        assert program.stop(signal.SIGHUP) == 0
