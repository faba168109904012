"""One child process: how it is described, started, fed, read and signalled."""

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

#: Bytes of one line of output; longer ones are handed on in pieces of this size.
LINE_BYTES_MAX = 16 * 1024

_READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """What to run."""

    #: unique in its pool; stands before each line of output
    name: str
    #: program and arguments; no shell
    argv: Sequence[str]
    #: more arguments, which distinguish it from others of the same program
    own_args: Sequence[str] = ()
    #: the program has a `fork_point`: it is forked of a template, where that can be done
    forks: bool = False
    #: added to the environment of the pool's process
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | Path | None = None
    #: written to standard input at each start, or once to the template; None: the input is empty
    stdin_data: bytes | None = None
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    #: a higher stage is stopped, and gone, before a lower one is asked to go
    stage: int = 0
    #: the program calls `watch_lifeline`; any other is ended from outside if the pool is killed
    watches_lifeline: bool = False


@dataclass(frozen=True, slots=True)
class ProcessStatistics:
    """One process, at this moment."""

    name: str
    pid: int | None
    state: ProcessState
    restarts: int
    #: of the last run: a code, or minus the signal's number; None if it has not ended yet
    exit_code: int | None


class LineSplitter:
    """Bytes in, lines out; holds at most `LINE_BYTES_MAX` bytes."""

    def __init__(self, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self._line_bytes_max = line_bytes_max
        self._rest = b""

    def feed(self, data: bytes | bytearray) -> list[str]:
        """The lines that `data` completes, without their ends."""
        *whole, rest = (self._rest + bytes(data)).split(b"\n")
        lines = [piece for line in whole for piece in self._pieces(line)]
        if len(rest) >= self._line_bytes_max:
            *full, rest = self._pieces(rest)
            lines += full
        self._rest = rest
        return [_text(line) for line in lines]

    def flush(self) -> list[str]:
        """What stands after the last line end."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []

    def _pieces(self, line: bytes) -> list[bytes]:
        size = self._line_bytes_max
        return [line[at : at + size] for at in range(0, max(len(line), 1), size)]


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").decode("utf-8", "replace")


class Process(Protocol):
    """What the pool wants of a running process: a `trio.Process`, or a `Forked`."""

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


async def spawn(spec: ProcessSpec, lifeline_fd: int) -> trio.Process:
    """Start the process, in a session of its own: the terminal's Ctrl-C reaches only the pool.

    Raises
    ------
    OSError
        If there is no such program or folder, or no right to run it.
    """
    return await open_child(spec, [*spec.argv, *spec.own_args], {LIFELINE_ENV: lifeline_fd})


async def open_child(
    spec: ProcessSpec, argv: Sequence[str], descriptors: Mapping[str, int]
) -> trio.Process:
    """Start `argv` as `spec` says otherwise; it inherits descriptors, named in its environment."""
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
    """Write `data` to the process and close its input; a process that is gone takes none."""
    assert process.stdin is not None
    async with process.stdin:
        with suppress(trio.BrokenResourceError):
            await process.stdin.send_all(data)


async def read_output(process: Process, on_line: Callable[[str], None]) -> None:
    """Hand on what the process writes, line by line, until it (and all that it started) is done."""
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
    """SIGKILL to a process, if it still runs, and to whatever it started in its session."""
    # by itself too: one that was forked this moment has no session of its own yet
    process.kill()
    kill_group(process.pid)


def kill_group(group: int) -> None:
    """SIGKILL to a process and to whatever it started in its session."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
