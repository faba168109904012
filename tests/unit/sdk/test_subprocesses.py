"""Subprocesses that end with the function: the whole group, gently first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.acceptance.system import until
from understudy import subprocesses
from understudy.context import Context
from understudy.errors import CanceledError, ConfigurationError, DeadlineExceededError
from understudy_actors.interpreter.signals import cancel

#: a program that says that it is there, and what it does when it is to end
PROGRAM = """
import os, signal, subprocess, sys, time
from pathlib import Path

def on_term(*_):
    Path(sys.argv[1], "term").touch()
    if sys.argv[2] == "gentle":
        sys.exit(3)

signal.signal(signal.SIGTERM, on_term)
if sys.argv[2] == "parent":
    # Its child ignores the first signal, and outlives it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Path(sys.argv[1], "child").write_text(str(child.pid))
Path(sys.argv[1], "pid.new").write_text(str(os.getpid()))
os.rename(Path(sys.argv[1], "pid.new"), Path(sys.argv[1], "pid"))
end = time.monotonic() + 60
while time.monotonic() < end:
    time.sleep(0.5)
"""


class Function:
    """A function that runs here, with a context whose call can be canceled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, timeout_s: float = 3600) -> None:
        record = SimpleNamespace(timeout_at=int((time.time() + timeout_s) * 1000))
        run: Any = SimpleNamespace(id="call-1", signals=None, canceled=False, record=record)
        self.run = run
        env: Any = SimpleNamespace(now_ms=lambda: int(time.time() * 1000))
        self.ctx = ctx = Context(run, env)
        monkeypatch.setattr(subprocesses, "current", lambda: ctx)

    def cancel_when(self, path: Path) -> None:
        """Cancel the call once a file is there."""

        def wait_and_cancel() -> None:
            until("the program runs", path.exists)
            cancel(self.run)

        threading.Thread(target=wait_and_cancel, daemon=True).start()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


def program(folder: Path, how: str) -> list[str]:
    return [sys.executable, str(folder / "program.py"), str(folder), how]


def is_alive(path: Path) -> bool:
    try:
        os.kill(int(path.read_text()), 0)
    except ProcessLookupError:
        return False
    # A zombie that nobody has waited for is dead as well.
    state = Path(f"/proc/{path.read_text()}/stat")
    return not state.exists() or ") Z " not in state.read_text()


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> Function:
    return Function(monkeypatch)


@pytest.mark.usefixtures("function")
def test_it_is_subprocess_run() -> None:
    done = subprocesses.run(["cat"], input="text", capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "text", "")
    assert subprocesses.run("exit 3", shell=True).returncode == 3
    with pytest.raises(subprocess.CalledProcessError):
        subprocesses.run(["false"], check=True)
    with pytest.raises(FileNotFoundError):
        subprocesses.run(["/no/such/program"])


def test_a_program_that_ends_when_it_is_asked(function: Function, folder: Path) -> None:
    function.cancel_when(folder / "pid")
    with pytest.raises(CanceledError, match="call-1"):
        subprocesses.run(program(folder, "gentle"), grace=60)
    assert (folder / "term").exists()
    assert not is_alive(folder / "pid")


def test_a_program_that_does_not(function: Function, folder: Path) -> None:
    function.cancel_when(folder / "pid")
    with pytest.raises(CanceledError):
        subprocesses.run(program(folder, "stubborn"), grace=0.1)
    assert (folder / "term").exists()
    assert not is_alive(folder / "pid")


def test_what_the_program_has_started_ends_too(function: Function, folder: Path) -> None:
    function.cancel_when(folder / "pid")
    with pytest.raises(CanceledError):
        subprocesses.run(program(folder, "parent"), grace=0.1, capture_output=True)
    until("the child is gone", lambda: not is_alive(folder / "child"))


@pytest.mark.parametrize("is_there", [True, False])
def test_a_timeout(folder: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
    if is_there:
        Function(monkeypatch)
    with pytest.raises(subprocess.TimeoutExpired):
        subprocesses.run(program(folder, "stubborn"), grace=0, timeout=0.2)
    assert not (folder / "pid").exists() or not is_alive(folder / "pid")


def test_the_deadline_that_no_broker_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocesses, "_LATE_S", 0.05)
    function = Function(monkeypatch, timeout_s=0.1)
    with pytest.raises(DeadlineExceededError):
        subprocesses.run(["sleep", "60"])
    assert not function.ctx.canceled


def test_a_function_that_was_canceled_before(function: Function) -> None:
    cancel(function.run)
    with pytest.raises(CanceledError):
        subprocesses.run(["sleep", "60"])


@pytest.mark.usefixtures("function")
def test_an_interrupt_ends_the_program(folder: Path) -> None:
    def interrupt() -> None:
        until("the program runs", (folder / "pid").exists)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        subprocesses.run(program(folder, "stubborn"))
    assert not is_alive(folder / "pid")


@pytest.mark.parametrize("name", ["preexec_fn", "start_new_session", "process_group"])
def test_what_it_sets_itself(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        subprocesses.run(["true"], **{name: None})  # type: ignore[arg-type]


async def in_async_code() -> None:
    subprocesses.run(["true"])


def test_it_does_not_block_an_event_loop() -> None:
    import asyncio

    with pytest.raises(ConfigurationError, match="would block"):
        asyncio.run(in_async_code())
