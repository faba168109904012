"""Holders of locks on a file, by name: what an operator wants to know who waits for one.

Linux lists all locks in ``/proc/locks``. Elsewhere, and for processes of another container, nobody
is found; whoever asks must be able to do without.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

_LOCKS: Final = Path("/proc/locks")

#: ``flock`` locks whole files; ``fcntl`` locks ranges, as SQLite does
Kind = Literal["FLOCK", "POSIX"]


def holders(kind: Kind, paths: Iterable[Path]) -> list[str]:
    """Return the processes that hold an exclusive lock on one of `paths`, as text.

    Examples
    --------
    ``["process 4711 (sqlite3)"]``
    """
    pids: dict[int, None] = {}
    with suppress(OSError):
        locks = _LOCKS.read_text().splitlines()
        for path in paths:
            with suppress(FileNotFoundError):
                pids.update(dict.fromkeys(_pids(kind, path.stat(), locks)))
    return [_named(pid) for pid in pids]


def _pids(kind: Kind, file: os.stat_result, locks: Iterable[str]) -> Iterator[int]:
    """Yield the holders; a line is ``1: POSIX ADVISORY WRITE 4711 08:01:1234 120 120``."""
    for line in locks:
        fields = line.split()
        # A lock that is waited for, not held, has an arrow as its second field.
        if fields[1:2] != [kind] or fields[3] != "WRITE":
            continue
        pid, place = int(fields[4]), fields[5].rsplit(":", 1)
        device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}"
        if place[1] == str(file.st_ino) and (place[0] == device or _has_open(pid, file)):
            yield pid


def _has_open(pid: int, file: os.stat_result) -> bool:
    """Return whether a process has a file open: the devices of layered file systems differ."""
    with suppress(OSError):
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if os.path.samestat(each.stat(), file):
                    return True
    return False


def _named(pid: int) -> str:
    if pid == os.getpid():
        return f"this process ({pid})"
    try:
        return f"process {pid} ({Path(f'/proc/{pid}/comm').read_text().strip()})"
    except OSError:
        return f"process {pid}" if pid > 0 else "another process"
