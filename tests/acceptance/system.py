"""A broker and programs in processes of their own, for tests from outside."""

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

from understudy import Runtime

#: seconds that anything may take before a test has failed
PATIENCE_S = 40.0
#: seconds between two looks
LOOK_S = 0.01

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def until(what: str, condition: Callable[[], object]) -> None:
    """Wait until the condition holds; a test that waits in vain fails and says for what."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise AssertionError(f"waited {PATIENCE_S:g} s in vain until {what}")
        time.sleep(LOOK_S)


class Program:
    """One process; what it writes goes into a file."""

    def __init__(self, argv: list[str], log: Path, env: dict[str, str], cwd: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **env},
                cwd=cwd,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(PATIENCE_S)


class System:
    """A broker, and whatever a test starts beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"ipc://{folder}/broker"
        self._programs: list[Program] = []
        self._store = f"sqlite:///{folder}/store.db"
        # nobody waits until it listens: whatever comes before it keeps trying, which is quicker
        self.broker = self.start_broker()
        #: a client of it, in the test's own process
        self.runtime = Runtime(group="test", url=self.url, connect_timeout=PATIENCE_S)

    def start_broker(self) -> Program:
        """Start the broker, at first or again: always with the same address and store."""
        arguments = ["--listen", self.url, "--store", self._store]
        return self._start("broker", ["-m", "understudy", "broker", *arguments])

    def run(self, name: str, text: str, **env: str) -> Program:
        """Start a program: `text` is its source, `name` that of its file and its log."""
        file = self.folder / f"{name.replace('-', '_')}.py"
        file.write_text(dedent(text), encoding="utf-8")
        return self._start(name, [str(file)], **env)

    def again(self, name: str, **env: str) -> Program:
        """Start a program that was `run` before once more."""
        return self._start(name, [str(self.folder / f"{name.replace('-', '_')}.py")], **env)

    def _start(self, name: str, arguments: list[str], **env: str) -> Program:
        log = self.folder / f"{name}.{len(self._programs)}.log"
        program = Program(
            [sys.executable, *arguments],
            log,
            {"UNDERSTUDY_URL": self.url, **env},
            self.folder,
        )
        self._programs.append(program)
        return program

    def nodes(self, group: str) -> dict[str, int]:
        """The nodes of a group that are there: name to process."""
        groups = self.runtime.groups().groups
        return {n.name: n.os_pid for g in groups if g.name == group for n in g.nodes}

    def ledger(self, name: str) -> list[str]:
        """The lines that programs have added to a file of the system's folder."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def close(self) -> None:
        self.runtime.stop()
        for program in reversed(self._programs):
            program.kill()

    def report(self) -> str:
        """What all programs wrote."""
        return "\n".join(f"--- {p.log.name}\n{p.output}" for p in self._programs)


@contextmanager
def open_system(folder: Path) -> Iterator[System]:
    """A system that is gone when the block is left; a failure shows what its programs wrote."""
    system = System(folder)
    try:
        yield system
    except BaseException:
        print(system.report())
        raise
    finally:
        system.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def post(port: int, path: str) -> tuple[int, Any]:
    """Send a POST request to this machine; status and decoded JSON."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method="POST")
    try:
        with _OPENER.open(request, timeout=PATIENCE_S) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
