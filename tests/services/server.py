"""A server of the tests' own: a process with a folder, which can be killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from tests.support import eventually
from understudy.bench.deployment import free_port
from understudy_actors.processes import reaper_main

#: how long a server may take to listen, on a busy machine
_PATIENCE_S = 90.0


@cache
def _reaper() -> IO[bytes]:
    """Start the program that ends the servers of these tests if the tests are killed."""
    command = [sys.executable, "-I", "-S", reaper_main.__file__, "0"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    process.returncode = 0  # nobody waits for it: it ends after these tests
    assert process.stdin is not None
    return process.stdin


def _reap(group: int) -> None:
    """End a process group, with all that it has started, once these tests are gone."""
    pipe = _reaper()
    pipe.write(b"+%d\n" % group)
    pipe.flush()


class Server:
    """A server whose files are in a folder of its own.

    Parameters
    ----------
    name
        Its name, for the folder and for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix=f"understudy-{name}-"))
        self.port = free_port()
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def output(self) -> str:
        """All that the server has printed."""
        log = self.folder / "output"
        return log.read_text(errors="replace") if log.exists() else ""

    def run(self, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
        """Start one of the server's processes. It ends with the tests, whatever happens."""
        with (self.folder / "output").open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the tests, which then stop the server.
                start_new_session=True,
            )
        self._processes.append(process)
        _reap(process.pid)

    def wait_until_it_listens(self, port: int | None = None) -> None:
        """Return once connections are accepted."""
        eventually(lambda: self._listens(port or self.port), _PATIENCE_S)

    def _listens(self, port: int) -> bool:
        ended = [process for process in self._processes if process.poll() is not None]
        assert not ended, f"{self.name} has ended:\n{self.output}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def kill(self) -> None:
        """Kill the server with SIGKILL, as a crash does; it can be started again."""
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=60)
        self._processes.clear()

    def pause(self) -> None:
        """Stop the server, as a machine that hangs does."""
        for process in self._processes:
            os.killpg(process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        for process in self._processes:
            os.killpg(process.pid, signal.SIGCONT)

    def remove(self) -> None:
        """Kill the server and remove its files."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
