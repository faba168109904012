"""Programs: ``understudy`` commands as processes, for the tests of the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import IO, Protocol, Self

from tests.forked import forker
from tests.support import free_url

#: seconds after which a wait fails its test
PATIENCE_S = 40
#: settings of brokers that use no port but their own
QUIET = {
    "UNDERSTUDY_BROKER__HTTP": "off",
    "UNDERSTUDY_BROKER__METRICS": "none",
    "UNDERSTUDY_UI__LISTEN": "off",
}

_numbers = count(1)

APP = """
import time
from pathlib import Path

from understudy import Constant, Context, Never, Runtime

runtime = Runtime(group="g")

@runtime.register
def order(ctx: Context, items: int = 2):
    promises = []
    for item in range(items):
        promises.append((yield ctx.rfi("price", item)))
    total = yield ctx.lfc(add, (yield ctx.all(promises)))
    yield ctx.detached("audit", total)
    return total

@runtime.register
def price(ctx: Context, item: int) -> int:
    return item * 10

@runtime.register
def add(ctx: Context, prices: list[int]) -> int:
    return sum(prices)

@runtime.register
def audit(ctx: Context, total: int) -> None:
    return None

@runtime.register
def greet(ctx: Context, name: str, greeting: str = "hello") -> str:
    return f"{greeting} {name}"

@runtime.register(retry=Never())
def fail(ctx: Context):
    raise ValueError("no such order")

@runtime.register(retry=Constant(5, 3))
def late(ctx: Context):
    if ctx.info.attempt == 1:
        raise ConnectionError("the bank is closed")
    return ctx.info.attempt

@runtime.register
def waits_for_late(ctx: Context):
    return (yield ctx.rpc(late))

@runtime.register
def lost(ctx: Context):
    return (yield ctx.rfc("order").options(target="nobody"))

tries = []

@runtime.register
def stubborn(ctx: Context):
    first = yield ctx.rfi("price", 1)
    chosen = yield ctx.rfi("price", 2).options(id=f"{ctx.id}-chosen")
    last = yield ctx.rfi("price", 3)
    yield ctx.all([first, chosen, last])
    return (yield ctx.lfc(flaky).options(retry=Constant(0.01, 5)))

def flaky(ctx: Context) -> int:
    tries.append(1)
    if len(tries) < 3:
        raise OSError("not yet")
    return len(tries)

@runtime.register
def hold(ctx: Context, until: str) -> None:
    while not Path(until).exists():
        time.sleep(0.01)

@runtime.register
def gate(ctx: Context):
    return (yield (yield ctx.promise(id="gate.open")))
"""


def environment(**extra: str) -> dict[str, str]:
    """Return this process's environment without understudy's variables, which may be set.

    Brokers run no edge and show no metrics, unless they are told to.
    """
    plain = {name: text for name, text in os.environ.items() if not name.startswith("UNDERSTUDY_")}
    return plain | QUIET | extra


def wait_until(condition: Callable[[], bool], problem: Callable[[], str]) -> None:
    """Wait until `condition` holds; fail with the text of `problem` if it takes too long."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at, problem()
        time.sleep(0.02)


class _Process(Protocol):
    """What the tests use of a `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> object: ...


class _Output(Protocol):
    """What a program has written, to its standard output and its standard error."""

    def text(self) -> str: ...
    def is_complete(self) -> bool: ...
    def wait_until_complete(self) -> None: ...


class _PipedOutput:
    """Output that comes through a pipe, which a thread reads."""

    def __init__(self, pipe: IO[str]) -> None:
        self._pipe = pipe
        self._lines: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._pipe:
            self._lines.extend(self._pipe)

    def text(self) -> str:
        return "".join(self._lines)

    def is_complete(self) -> bool:
        return not self._thread.is_alive()

    def wait_until_complete(self) -> None:
        self._thread.join(PATIENCE_S)


class _LoggedOutput:
    """Output that goes to a file, until the process ends."""

    def __init__(self, process: _Process, log: Path) -> None:
        self._process = process
        self._log = log

    def text(self) -> str:
        return self._log.read_text(errors="replace")

    def is_complete(self) -> bool:
        return self._process.poll() is not None

    def wait_until_complete(self) -> None:
        self._process.wait(PATIENCE_S)


class Program:
    """An ``understudy`` command as a process, with all its output."""

    is_service = False

    def __init__(self, *args: str, cwd: Path, **env: str) -> None:
        self.args = args
        self.process, self._output = self._start(cwd, environment(PYTHONUNBUFFERED="1", **env))

    def _start(self, cwd: Path, env: dict[str, str]) -> tuple[_Process, _Output]:
        process = subprocess.Popen(
            [sys.executable, "-m", "understudy", *self.args],
            cwd=cwd,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=self.is_service,
        )
        assert process.stdout is not None
        return process, _PipedOutput(process.stdout)

    @property
    def output(self) -> str:
        return self._output.text()

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until the program has written `text` so many times."""
        wait_until(
            lambda: self.output.count(text) >= times or self._output.is_complete(),
            lambda: f"{self.args} has not written {text!r} {times}×, but:\n{self.output}",
        )
        assert self.output.count(text) >= times, f"{self.args} wait_for_exit:\n{self.output}"

    def wait_for_exit(self) -> int:
        """Wait for the end of the program; return its exit code."""
        code = self.process.wait(PATIENCE_S)
        self._output.wait_until_complete()
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, and wait for the exit code."""
        self.process.send_signal(number)
        return self.wait_for_exit()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(PATIENCE_S)
        self._output.wait_until_complete()


class Service(Program):
    """A program without a terminal, as a system starts it."""

    is_service = True


class Forked(Program):
    """A program for tests of what it does later: it is forked, in a tenth of the time of a start.

    It is a session of its own, and its output is a file.
    """

    def _start(self, cwd: Path, env: dict[str, str]) -> tuple[_Process, _Output]:
        log = cwd / f"{self.args[0]}-{next(_numbers)}.output"
        process = forker().python(["-m", "understudy", *self.args], env, cwd, log)
        return process, _LoggedOutput(process, log)


@contextmanager
def broker_with_node(folder: Path) -> Iterator[str]:
    """Start a broker with one node of group g, which serves `APP`; yield the broker's address."""
    (folder / "app.py").write_text(APP)
    where = free_url()
    with (
        Forked("broker", "--listen", where, "--store", "memory", cwd=folder) as broker,
        Forked("node", "app:runtime", "--id", "g-1", "--url", where, cwd=folder) as node,
    ):
        broker.wait_for("listening on")
        node.wait_for("node g-1 of group g serves add, audit, fail")
        yield where


def run(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "understudy", *args],
        cwd=cwd,
        env=environment(**env),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def run_forked(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself, for tests of what it does: see `Forked`."""
    with TemporaryDirectory() as name:
        out, err = Path(name) / "out", Path(name) / "err"
        words = ["-m", "understudy", *args]
        process = forker().python(words, environment(**env), cwd, out, err)
        try:
            code = process.wait(PATIENCE_S)
        finally:
            process.send_signal(signal.SIGKILL)
        return subprocess.CompletedProcess(args, code, out.read_text(), err.read_text())


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have started."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(status.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found[1:]
