"""Signals to processes that may have ended by themselves."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from multiprocessing.context import ForkServerProcess


def pid_of(process: ForkServerProcess) -> int:
    """Return the number of a process that was started."""
    assert process.pid is not None
    return process.pid


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal, unless the process has just ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
