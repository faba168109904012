"""The processes of one open peer: servers, workers, and the program that makes the calls."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.deployment import ROOT
from benchmarks.harness import Figures, SubjectError
from benchmarks.peers.environment import TAIL, Environment
from benchmarks.workloads import memory

#: Seconds after which a run is given up.
RUN_S = 900.0
STOP_S = 20.0


class Session:
    """The processes of a peer, and runs of its program.

    Attributes
    ----------
    folder
        For their files; removed afterwards.
    """

    def __init__(self, environment: Environment, folder: Path) -> None:
        self.environment = environment
        self.folder = folder
        self._servers: list[subprocess.Popen[bytes]] = []
        self._workers: list[subprocess.Popen[bytes]] = []
        self._driver: subprocess.Popen[bytes] | None = None
        self._log_path = folder / "processes.txt"
        self._log = self._log_path.open("ab")

    def server(self, *command: str, user: str | None = None) -> subprocess.Popen[bytes]:
        """Start a server of the peer."""
        process = self._start(command, {}, user=user)
        self._servers.append(process)
        return process

    def worker(self, *arguments: str, **environ: str) -> None:
        """Start ``python ARGUMENTS`` in the peer's environment, as a worker of it."""
        self._workers.append(self._start([str(self.environment.python), *arguments], environ))

    def drive(self, module: str, **environ: str) -> None:
        """Start the program that makes the calls."""
        command = [str(self.environment.python), "-m", module]
        self._driver = self._start(command, environ, piped=True)

    def run(self, workload: str, size: int) -> Figures | None:
        """Ask the program for one run.

        Raises
        ------
        SubjectError
            It ended, or took too long.
        """
        if workload == memory.WORKLOAD.name:
            return self._memory()
        driver = self._driver
        assert driver is not None
        assert driver.stdin is not None
        assert driver.stdout is not None
        # Selecting on stdout would miss buffered lines, so a timer kills a slow program.
        limit = threading.Timer(RUN_S, driver.kill)
        limit.start()
        try:
            with suppress(BrokenPipeError):
                driver.stdin.write(json.dumps({"workload": workload, "size": size}).encode())
                driver.stdin.write(b"\n")
                driver.stdin.flush()
            line = driver.stdout.readline()
        finally:
            limit.cancel()
        if not line:
            raise SubjectError(f"{workload} failed: {self._why()}")
        figures: Figures | None = json.loads(line)["figures"]
        return figures

    def _memory(self) -> Figures | None:
        # If the program starts all other processes, it counts as one of them.
        workers = self._workers or [p for p in (self._driver,) if p is not None]
        return memory.of([p.pid for p in self._servers], [p.pid for p in workers])

    def _start(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        *,
        piped: bool = False,
        user: str | None = None,
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else self._log,
            stderr=self._log,
            cwd=ROOT if user is None else self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
            start_new_session=True,
            user=user,
        )

    def _why(self) -> str:
        lines = self._log_path.read_text(errors="replace").strip().splitlines()
        return " / ".join(line.strip() for line in lines[-TAIL:])[-800:].replace(str(ROOT), ".")

    def close(self) -> None:
        """End the program, the workers, and the servers last."""
        try:
            self._end_all()
        finally:
            # Finish this even if the user interrupts a second time.
            for process in (*self._workers, *self._servers, self._driver):
                if process is not None and process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def _end_all(self) -> None:
        if self._driver is not None and self._driver.stdin is not None:
            with suppress(BrokenPipeError):
                self._driver.stdin.close()
            self._end(self._driver, None)
        for process in self._workers:
            self._end(process, signal.SIGTERM)
        for process in self._servers:
            self._end(process, signal.SIGTERM)
        self._log.close()

    def _end(self, process: subprocess.Popen[bytes], signal_: signal.Signals | None) -> None:
        if signal_ is not None:
            with suppress(ProcessLookupError):
                process.send_signal(signal_)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        # Kill the processes of its group that it left behind.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def opened(environment: Environment) -> Iterator[Session]:
    """Open a session without processes; end all its processes afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-peer-", ignore_cleanup_errors=True) as name:
        session = Session(environment, Path(name))
        try:
            yield session
        finally:
            session.close()
