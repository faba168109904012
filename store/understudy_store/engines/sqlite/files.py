"""Guards of a store's files: that they are one, that nobody else has it open, that they stay."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from understudy_store.engines.sql.tables import APPLICATION_ID
from understudy_store.errors import (
    StoreAccessError,
    StoreFormatError,
    StoreGoneError,
    StoreLockedError,
)

_MAGIC = b"SQLite format 3\0"
#: where SQLite's header keeps PRAGMA application_id
_APPLICATION_ID_AT = slice(68, 72)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def access_error(path: Path, error: OSError) -> StoreAccessError:
    """Say `error` in words, and what to do."""
    if error.errno in _NO_ROOM:
        advice = "Make room on the disk"
    else:
        advice = "Give the user of this process the right to write the file and its directory"
    return StoreAccessError(
        f"cannot use {path} as a store: {error.strerror or error}"
        f"{f' ({error.filename})' if error.filename else ''}. {advice}, or name another path"
    )


def check_ours(path: Path) -> bool:
    """Return whether `path` holds a store already; it reads only the header.

    Raises
    ------
    StoreFormatError
        It holds something else, which is left as it is.
    """
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise access_error(path, error) from error
    if not header or (not any(header) and path.with_name(f"{path.name}-journal").exists()):
        # All zeroes: the power failed while the first page was written. SQLite rolls it back.
        return False
    if not header.startswith(_MAGIC):
        raise StoreFormatError(
            f"{path} is not an SQLite database, so it is no store of understudy. "
            "It was left as it is: name another path"
        )
    if int.from_bytes(header[_APPLICATION_ID_AT], "big") != APPLICATION_ID:
        raise StoreFormatError(
            f"{path} is an SQLite database, but not one that understudy made. "
            "It was left as it is: name another path"
        )
    return True


def sync_directory(path: Path) -> None:
    """Make the entries of a directory durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """Make `path` and its parents, durably.

    Parents that exist are synced too, because the process that made them may have died before that.
    """
    path.mkdir(parents=True, exist_ok=True)
    for parent in path.parents:
        # A directory that we may not read was not made by us.
        with suppress(PermissionError):
            sync_directory(parent)


class FilesInPlace:
    """A check that files stay where they were.

    The kernel goes on with a file that somebody removes, and so does SQLite: nobody would notice
    that everything written from then on is lost when the process ends. And without its lock file a
    store could be opened twice.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._known = {path: _identity(path) for path in paths}

    def check(self) -> None:
        """Check each of them.

        Raises
        ------
        StoreGoneError
            One was removed or replaced.
        """
        for path, known in self._known.items():
            if _identity(path) != known:
                raise StoreGoneError(
                    f"{path} was removed or replaced while the store was open, so anything "
                    "written now would be lost"
                )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


class FileLock:
    """An exclusive lock on a store, beside its file; the kernel drops it when the process ends.

    Raises
    ------
    StoreLockedError
        Another process holds it; the text says which.
    """

    def __init__(self, store: Path) -> None:
        self._fd = os.open(f"{store}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._fd, 1000).decode(errors="replace").strip()
            os.close(self._fd)
            raise StoreLockedError(
                f"the store {store} is open in {holder or 'another process'}. "
                "Stop that one first, or talk to it instead of opening its store"
            ) from None
        except OSError:
            os.close(self._fd)
            raise
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """Let others open the store. The lock's file stays: without it, two could hold the lock."""
        os.close(self._fd)
