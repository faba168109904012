"""A broker and programs in processes of their own, for tests that look from outside."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

from tests.forked import Process, forker
from understudy import Runtime

#: seconds after which a wait fails its test
PATIENCE_S = 40.0
#: seconds between two checks of a condition
POLL_S = 0.01

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def until(goal: str, condition: Callable[[], object]) -> None:
    """Wait until the condition holds; fail the test if that takes too long."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise AssertionError(f"waited {PATIENCE_S:g} s in vain until {goal}")
        time.sleep(POLL_S)


class Program:
    """A process whose output goes into a file.

    Parameters
    ----------
    forked
        Whether it is not started but forked, which takes a tenth of the time; `argv` must name this
        Python.
    """

    def __init__(
        self,
        argv: list[str],
        log: Path,
        env: dict[str, str],
        cwd: Path,
        *,
        forked: bool = False,
    ) -> None:
        self.log = log
        self._process: subprocess.Popen[bytes] | Process
        if forked:
            everything = {**os.environ, "PYTHONUNBUFFERED": "1", **env}
            self._process = forker().python(argv[1:], everything, cwd, log)
            return
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
                cwd=cwd,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def is_running(self) -> bool:
        """Return whether the process has not ended."""
        return self._process.poll() is None

    def send_signal(self, number: int) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end of the process; return its exit code."""
        return self._process.wait(PATIENCE_S)

    def kill_group(self) -> None:
        """Kill the process with SIGKILL, and those that it has started, and wait for its end."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE_S)

    def kill(self) -> None:
        """Kill the process with SIGKILL, and wait for its end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(PATIENCE_S)


class System:
    """A broker, and the programs that a test starts beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"ipc://{folder}/broker"
        self._programs: list[Program] = []
        self._store = f"sqlite:///{folder}/store.db"
        # The test does not wait for the broker, because programs that start before it keep trying.
        self.broker = self.start_broker()
        #: a client, in the test's own process
        self.runtime = Runtime(group="test", url=self.url, connect_timeout=PATIENCE_S)

    def start_broker(self) -> Program:
        """Start the broker, or start it again with the same address and store."""
        arguments = ["--listen", self.url, "--store", self._store]
        return self._start("broker", ["-m", "understudy", "broker", *arguments])

    def run(self, name: str, text: str, **env: str) -> Program:
        """Write a program's source `text` into a file named after `name`, and start it."""
        file = self.folder / f"{name.replace('-', '_')}.py"
        file.write_text(dedent(text), encoding="utf-8")
        return self._start(name, [str(file)], **env)

    def again(self, name: str, **env: str) -> Program:
        """Start once more a program that was started by `run`."""
        return self._start(name, [str(self.folder / f"{name.replace('-', '_')}.py")], **env)

    def wait_for_broker(self) -> None:
        """Return once the broker listens, for programs that give up if none answers in time."""
        until("the broker listens", lambda: "listening on" in self.broker.output)

    def command(self, *arguments: str) -> Program:
        """Start an ``understudy`` command, once the broker listens: it would not wait for long."""
        self.wait_for_broker()
        return self._start(arguments[0], ["-m", "understudy", *arguments])

    def _start(self, name: str, arguments: list[str], **env: str) -> Program:
        log = self.folder / f"{name}.{len(self._programs)}.log"
        program = Program(
            [sys.executable, *arguments],
            log,
            {"UNDERSTUDY_URL": self.url, **env},
            self.folder,
            forked=True,
        )
        self._programs.append(program)
        return program

    def nodes(self, group: str) -> dict[str, int]:
        """Return the nodes of a group: name to process id."""
        groups = self.runtime.groups().groups
        return {n.name: n.os_pid for g in groups if g.name == group for n in g.nodes}

    def ledger(self, name: str) -> list[str]:
        """Return the lines that programs have added to a file in the system's folder."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def close(self) -> None:
        self.runtime.stop()
        for program in reversed(self._programs):
            program.kill()

    def report(self) -> str:
        """Return the output of all programs."""
        return "\n".join(f"--- {p.log.name}\n{p.output}" for p in self._programs)


@contextmanager
def open_system(folder: Path) -> Iterator[System]:
    """Open a system, and stop it at the end of the block; a failure prints its programs' output."""
    system = System(folder)
    try:
        yield system
    except BaseException:
        print(system.report())
        raise
    finally:
        system.close()


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def post(port: int, path: str) -> tuple[int, Any]:
    """Send a POST request to this machine; return the status and the decoded JSON."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method="POST")
    try:
        with _OPENER.open(request, timeout=PATIENCE_S) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
