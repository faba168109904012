"""Waiting for other programs that hold SQLite's lock on the store's file.

A viewer, a shell or a backup script may lock the file for minutes. Nothing is wrong with the store
meanwhile: commits go to the journal as long as it has room. So the lock is waited for, and the
owner of the store is told which process has it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy.exc import OperationalError

from understudy_store.engines.sqlite.lock_holders import holders
from understudy_store.errors import OpeningStoppedError

T = TypeVar("T")

#: how often the owner is told, while the lock is waited for
TELL_S: Final = 30.0
#: how long the lock is waited for once the store is to be closed
PATIENCE_AT_CLOSE_S: Final = 5.0
#: the part of SQLite's error codes that names the kind
_KIND: Final = 0xFF


class LockWait:
    """The waiting for the locks of one file.

    Parameters
    ----------
    path
        Of the file.
    tell
        Called with a sentence on whichever thread waits, when it begins to wait, every `TELL_S`,
        and when it has waited.
    is_unwanted
        Returns whether to give up; until `opened`.
    """

    def __init__(
        self, path: Path, tell: Callable[[str], object], is_unwanted: Callable[[], bool]
    ) -> None:
        self._path = path
        self._tell = tell
        self._is_unwanted: Callable[[], bool] | None = is_unwanted
        self._until: float | None = None

    def until_free(self, act: Callable[[], T]) -> T:
        """Do `act` again and again for as long as another program's lock prevents it.

        `act` itself waits a short time, as SQLite does, before it fails.
        """
        began = time.monotonic()
        told: float | None = None
        while True:
            try:
                result = act()
            except (sqlite3.OperationalError, OperationalError) as error:
                now = time.monotonic()
                if not _is_busy(error) or (self._until is not None and now >= self._until):
                    raise
                if self._is_unwanted is not None and self._is_unwanted():
                    raise OpeningStoppedError(
                        f"the store {self._path} was not opened: the wait for another program's "
                        "lock was ended"
                    ) from None
                if told is None or now - told >= TELL_S:
                    told = now
                    self._tell(self._waiting(now - began))
            else:
                if told is not None:
                    waited_s = time.monotonic() - began
                    self._tell(f"{self._path} is free again, after {waited_s:.0f} s")
                return result

    def opened(self) -> None:
        """Do not give up any more: a store that is open is closed in order."""
        self._is_unwanted = None

    def stop(self) -> None:
        """Wait no longer than `PATIENCE_AT_CLOSE_S` from now on."""
        if self._until is None:
            self._until = time.monotonic() + PATIENCE_AT_CLOSE_S

    def _waiting(self, waited_s: float) -> str:
        # Writers lock a part of the index of the WAL, and a few operations the file.
        who = holders("POSIX", [Path(f"{self._path}-shm"), self._path])
        return (
            f"waiting for {' and '.join(who) or 'another program'}, with a lock on {self._path} "
            f"for {waited_s:.0f} s already. Commits go to the journal meanwhile; when it is full, "
            "they wait too. If that program should not have the lock, end it"
        )


def _is_busy(error: sqlite3.OperationalError | OperationalError) -> bool:
    cause = error.orig if isinstance(error, OperationalError) else error
    return getattr(cause, "sqlite_errorcode", 0) & _KIND == sqlite3.SQLITE_BUSY
