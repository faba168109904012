"""The pool's side of `reaper_main`: starts that program when it is first needed and feeds it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

_PROGRAM: Final = Path(__file__).with_name("reaper_main.py")

#: Seconds for the program to leave once its list is empty and its input closed.
_CLOSE_S: Final = 2.0


class Reaper:
    """Process groups that must not outlive this process.

    Parameters
    ----------
    grace_s
        Seconds between SIGTERM and SIGKILL if this process dies first.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._program: trio.Process | None = None
        self._write_fd = -1
        self._starting = trio.Lock()

    @property
    def pid(self) -> int | None:
        """Process id of the program; None as long as it was not needed."""
        return None if self._program is None else self._program.pid

    async def open(self) -> None:
        """Start the program unless it has been started."""
        async with self._starting:
            if self._program is not None:
                return
            read_fd, self._write_fd = os.pipe()
            try:
                self._program = await trio.lowlevel.open_process(
                    [sys.executable, "-I", "-S", str(_PROGRAM), str(self._grace_s)],
                    stdin=read_fd,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            finally:
                os.close(read_fd)

    def add(self, group: int) -> None:
        """Enter a process group in the list."""
        self._write(f"+{group}\n")

    def remove(self, group: int) -> None:
        """Strike out a process group that has ended; harmless if it was never entered."""
        self._write(f"-{group}\n")

    async def aclose(self) -> None:
        """Close the list: the program ends the groups that are still on it, then itself."""
        if self._write_fd >= 0:
            os.close(self._write_fd)
            self._write_fd = -1
        if self._program is None:
            return
        with trio.move_on_after(_CLOSE_S, shield=True):
            await self._program.wait()

    def _write(self, line: str) -> None:
        # If somebody has killed the program, the pipe is broken. The processes run on without it.
        if self._write_fd >= 0:
            with suppress(BrokenPipeError):
                os.write(self._write_fd, line.encode())
