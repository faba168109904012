"""Processes that are forked by one that has imported everything, beside which a Python is slow."""

from __future__ import annotations

import atexit
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, NoReturn

from tests.support import eventually

ROOT: Final = Path(__file__).parents[1]
#: seconds after which a wait has failed
PATIENCE_S: Final = 40.0
#: Seconds for the imports of the forker. It starts once for many tests, in a fresh clone without
#: compiled modules, and on a busy machine; how long that takes is not what they test.
IMPORTS_S: Final = 300.0


class Process:
    """A child of the forker; its output goes to `log`."""

    def __init__(self, forker: Forker, pid: int, name: str, log: Path) -> None:
        self._forker = forker
        self.pid = pid
        self.name = name
        self.log = log

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while the process lives."""
        return self._forker.codes.get(self.pid)

    def signal(self, number: int) -> float:
        """Send a signal; return the time (`time.monotonic`, which all processes share)."""
        at = time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
        return at

    def ended(self) -> int:
        """Wait for the end of the process; return the exit code."""
        return self.wait(PATIENCE_S)

    def kill(self) -> float:
        """Send SIGKILL and wait for the end; return the time of the signal."""
        at = self.signal(signal.SIGKILL)
        self.ended()
        return at

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until the process has written `text`."""
        eventually(lambda: self.output.count(text) >= times or self.code is not None, PATIENCE_S)
        assert self.output.count(text) >= times, f"{self.name} ended:\n{self.output}"

    def limit_files(self, bytes_max: int) -> None:
        """Make writes beyond this length of a file fail, as on a full disk."""
        hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (bytes_max, hard))

    def rss_mib(self) -> float:
        """Return the resident memory; on Linux only."""
        rows = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(row.split()[1]) for row in rows if row.startswith("VmRSS")) / 1024

    # As of `subprocess.Popen` ---------------------------------------------------------------------

    def poll(self) -> int | None:
        return self.code

    def send_signal(self, number: int) -> None:
        if self.code is None:
            self.signal(number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def wait(self, timeout: float | None = None) -> int:
        return self._forker.wait(self, timeout)


class Forker:
    """The process that forks all others; see `tests.forker`."""

    def __init__(self) -> None:
        self.codes: dict[int, int] = {}
        self._change = threading.Condition()
        self._asking = threading.Lock()
        self._pids: SimpleQueue[int] = SimpleQueue()
        self._ready = threading.Event()
        plain = {k: v for k, v in os.environ.items() if not k.startswith("UNDERSTUDY_")}
        plain["UNDERSTUDY_BROKER__HTTP"] = "off"
        plain["UNDERSTUDY_BROKER__METRICS"] = "none"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=plain,
            bufsize=0,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._ready.wait(IMPORTS_S)
        if not self._ready.is_set():
            self._give_up(f"the forker has not imported its modules within {IMPORTS_S:g} s")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if "ready" in message:
                self._ready.set()
            elif "pid" in message:
                # Before its end can be told: a process may have had the same number.
                self.codes.pop(message["pid"], None)
                self._pids.put(message["pid"])
            else:
                with self._change:
                    self.codes[message["ended"]] = message["code"]
                    self._change.notify_all()

    def fork(
        self, name: str, call: str, argv: list[str], env: dict[str, str], folder: Path
    ) -> Process:
        """Start a process that calls ``module:function`` with `argv`."""
        log = folder / f"{name}.log"
        return self._ask(name, log, {"call": call, "argv": argv, "env": env, "cwd": str(folder)})

    def python(
        self,
        words: Sequence[str],
        env: Mapping[str, str],
        folder: Path,
        log: Path,
        errors: Path | None = None,
    ) -> Process:
        """Start what Python would with these words: ``-m module ...`` or ``script ...``.

        Parameters
        ----------
        env
            All its variables.
        folder
            The folder in which it runs.
        log
            The file to which its output is added.
        errors
            The file for its standard error; the same by default.
        """
        request = {"python": list(words), "env": dict(env), "cwd": str(folder)}
        if errors is not None:
            request["errors"] = str(errors)
        return self._ask(log.stem, log, request)

    def _ask(self, name: str, log: Path, request: dict[str, Any]) -> Process:
        log.touch()
        assert self._process.stdin is not None
        request["log"] = str(log)
        with self._asking:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            try:
                pid = self._pids.get(timeout=PATIENCE_S)
            except Empty:
                # A late answer would be taken for that of the next request.
                self._give_up(f"the forker has not forked {name} within {PATIENCE_S:g} s")
        return Process(self, pid, name, log)

    def wait(self, process: Process, timeout_s: float | None) -> int:
        """Wait for the end of a process; return the exit code."""
        with self._change:
            if not self._change.wait_for(lambda: process.pid in self.codes, timeout_s):
                raise subprocess.TimeoutExpired(process.name, timeout_s or 0)
            return self.codes[process.pid]

    def _give_up(self, reason: str) -> NoReturn:
        self._process.kill()
        raise AssertionError(f"{reason}; it is killed, so the tests after this one fail at once")

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        self._process.stdout.close()


@cache
def forker() -> Forker:
    """Return the forker of these tests, which ends with them."""
    made = Forker()
    atexit.register(made.close)
    return made
