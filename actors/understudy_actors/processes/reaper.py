"""The pool's side of `guard`: starts the helper when first needed, and keeps its list."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import trio

_PROGRAM = Path(__file__).with_name("reaper_main.py")

#: Seconds for the helper to leave once its list is empty and its input closed.
_CLOSE_S = 2.0


class Guard:
    """Process groups that must not outlive this process.

    Parameters
    ----------
    grace_s
        Seconds between SIGTERM and SIGKILL, should it come to that.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._helper: trio.Process | None = None
        self._write_fd = -1
        self._starting = trio.Lock()

    async def open(self) -> None:
        """Start the helper, once."""
        async with self._starting:
            if self._helper is not None:
                return
            read_fd, self._write_fd = os.pipe()
            try:
                self._helper = await trio.lowlevel.open_process(
                    [sys.executable, "-I", "-S", str(_PROGRAM), str(self._grace_s)],
                    stdin=read_fd,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            finally:
                os.close(read_fd)

    def add(self, group: int) -> None:
        """Put a process group on the list."""
        self._write(f"+{group}\n")

    def remove(self, group: int) -> None:
        """Take it off: it has ended."""
        self._write(f"-{group}\n")

    async def aclose(self) -> None:
        """Send the helper home; what is still on the list is ended by it."""
        if self._write_fd >= 0:
            os.close(self._write_fd)
            self._write_fd = -1
        if self._helper is None:
            return
        with trio.move_on_after(_CLOSE_S, shield=True):
            await self._helper.wait()

    def _write(self, line: str) -> None:
        # A helper that somebody has killed takes no more entries; the processes run on without it.
        if self._write_fd >= 0:
            with suppress(BrokenPipeError):
                os.write(self._write_fd, line.encode())
