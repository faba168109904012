"""One child process: its description, its start, its input and output, signals to it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import trio

from understudy_actors.processes.lifeline import LIFELINE_ENV
from understudy_actors.processes.restart import RestartPolicy

ProcessState: TypeAlias = Literal["starting", "running", "waiting", "stopping", "stopped", "failed"]

#: Bytes of one line of output; a longer line is split into pieces of this size.
LINE_BYTES_MAX = 16 * 1024

_READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """Description of a process to run.

    Attributes
    ----------
    name
        Unique in its pool; printed before each line of output.
    argv
        Program and arguments; no shell.
    own_args
        Further arguments, which distinguish this process from others of the same program.
    forks
        True if the program calls `fork_point`: it is forked from a fork server where possible.
    env
        Added to the environment of the pool's process.
    cwd
        The folder to run in; None: the folder of the pool's process.
    stdin_data
        Written to standard input at each start, or once to the fork server; None: empty input.
    restart
        When the process is restarted, and when the pool gives up.
    stage
        Processes of a higher stage are stopped, and gone, before a lower stage is asked to stop.
    watches_lifeline
        True if the program calls `watch_lifeline`. Any other is ended by the reaper if the pool is
        killed.
    """

    name: str
    argv: Sequence[str]
    own_args: Sequence[str] = ()
    forks: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | Path | None = None
    stdin_data: bytes | None = None
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    stage: int = 0
    watches_lifeline: bool = False


@dataclass(frozen=True, slots=True)
class ProcessStatistics:
    """A process at one moment."""

    name: str
    pid: int | None
    state: ProcessState
    restarts: int
    #: how the last run ended: a code, or minus the signal's number; None: no run has ended yet
    exit_code: int | None


class LineSplitter:
    """Splits a stream of bytes into lines; holds back at most `line_bytes_max` bytes."""

    def __init__(self, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._line_bytes_max = line_bytes_max
        self._rest = b""

    def feed(self, data: bytes | bytearray) -> list[str]:
        """Take in `data`; return the lines that it completes, without their line ends."""
        *whole, rest = (self._rest + bytes(data)).split(b"\n")
        lines = [piece for line in whole for piece in self._pieces(line)]
        if len(rest) >= self._line_bytes_max:
            *full, rest = self._pieces(rest)
            lines += full
        self._rest = rest
        return [_text(line) for line in lines]

    def flush(self) -> list[str]:
        """Return the text after the last line end."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []

    def _pieces(self, line: bytes) -> list[bytes]:
        size = self._line_bytes_max
        return [line[at : at + size] for at in range(0, max(len(line), 1), size)]


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").decode("utf-8", "replace")


class Process(Protocol):
    """A running process as the pool uses it: a `trio.Process` or a `ForkedProcess`."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    @property
    def stdin(self) -> trio.abc.SendStream | None: ...
    @property
    def stdout(self) -> trio.abc.ReceiveStream | None: ...
    async def wait(self) -> int: ...
    def send_signal(self, sig: signal.Signals, /) -> None: ...
    def kill(self) -> None: ...


async def start_process(spec: ProcessSpec, lifeline_fd: int) -> trio.Process:
    """Start the process, in a session of its own so that Ctrl-C reaches only the pool.

    Raises
    ------
    OSError
        If there is no such program or folder, or no right to run it.
    """
    return await open_child(spec, [*spec.argv, *spec.own_args], {LIFELINE_ENV: lifeline_fd})


async def open_child(
    spec: ProcessSpec, argv: Sequence[str], descriptors: Mapping[str, int]
) -> trio.Process:
    """Start `argv` with the environment, folder and input of `spec`.

    The process inherits `descriptors`: variables of its environment hold their numbers.
    """
    named = {name: str(fd) for name, fd in descriptors.items()}
    return await trio.lowlevel.open_process(
        list(argv),
        stdin=subprocess.DEVNULL if spec.stdin_data is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PYTHONUNBUFFERED": "1", **os.environ, **spec.env, **named},
        cwd=spec.cwd,
        start_new_session=True,
        pass_fds=tuple(descriptors.values()),
    )


@trio.lowlevel.enable_ki_protection
async def feed_stdin(process: Process, data: bytes) -> None:
    """Write `data` to the process and close its input. A process that has ended is no error."""
    assert process.stdin is not None
    async with process.stdin:
        with suppress(trio.BrokenResourceError):
            await process.stdin.send_all(data)


async def read_output(process: Process, on_line: Callable[[str], None]) -> None:
    """Pass on the output line by line until its end.

    The end comes when the process, and every process that inherited its output, has closed it.
    """
    assert process.stdout is not None
    splitter = LineSplitter()
    async with process.stdout:
        try:
            while data := await process.stdout.receive_some(_READ_BYTES):
                for line in splitter.feed(data):
                    on_line(line)
        finally:
            for line in splitter.flush():
                on_line(line)


def kill_all(process: Process) -> None:
    """Send SIGKILL to a process that still runs and to all processes of its session."""
    # Also to the process itself, because one forked a moment ago has no session of its own yet.
    process.kill()
    kill_group(process.pid)


def kill_group(group: int) -> None:
    """Send SIGKILL to a process group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
