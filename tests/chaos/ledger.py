"""The ledger: events, each recorded by the process that caused it, in files that outlive it.

Each line is one write to a file opened for appending, so lines of many processes do not mix, and
none is lost with its process. (The machine stays up; nothing is synced.) SIGKILL may end a write
between two pages of the file. So a line begins with a line break and ends with a mark: the torn one
stands alone and has no mark. Its process was killed before the write returned, and did no more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

#: The last field of each line that was written whole.
_WHOLE = "."


class Event(NamedTuple):
    """One line of a ledger. Times are epoch milliseconds, as in the store, with fractions."""

    at_ms: float
    #: Of an attempt: begin, end, raise. Of a call: asked, acked, result, again, failed. Of a
    #: process: see `world`.
    kind: str
    pid: int
    #: The id of a promise, or the name of a process.
    id: str
    #: The token of an attempt, the result of a call, or a detail.
    text: str


class Ledger:
    """Appends events to a file."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, kind: str, id: str, text: str = "", pid: int | None = None) -> float:
        """Append one event of this process, or about process `pid`; return its time."""
        at_ms = time.time() * 1000
        fields = (f"{at_ms:.3f}", kind, str(pid or os.getpid()), id, text, _WHOLE)
        os.write(self._fd, ("\n" + "\t".join(fields)).encode())
        return at_ms


def read(paths: Iterable[Path]) -> list[Event]:
    """Return the events of all files, in the order of their times; torn lines are left out."""
    events = []
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.endswith(f"\t{_WHOLE}"):
                continue
            at_ms, kind, pid, id, text, _ = line.split("\t")
            events.append(Event(float(at_ms), kind, int(pid), id, text))
    return sorted(events)
