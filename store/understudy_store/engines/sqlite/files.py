"""Guards of a store's files: that they are one, that nobody else has it open, that they stay."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from weakref import WeakSet

from understudy_store.engines.sql.tables import APPLICATION_ID
from understudy_store.engines.sqlite.lock_holders import holders
from understudy_store.errors import (
    StoreAccessError,
    StoreFormatError,
    StoreGoneError,
    StoreLockedError,
)

_MAGIC = b"SQLite format 3\0"
#: where SQLite's header keeps PRAGMA application_id
_APPLICATION_ID_AT = slice(68, 72)
#: what may be at a path besides a regular file
_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
#: of all files of a store: they are for their owner alone
_MODE: Final = 0o600
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def access_error(path: Path, error: OSError) -> StoreAccessError:
    """Say `error` in words, and what to do."""
    if error.errno in _NO_ROOM:
        advice = "Make room on the disk"
    elif error.errno == errno.ELOOP:
        advice = "The links lead in a circle: fix them"
    else:
        advice = "Give the user of this process the right to write the file and its directory"
    return StoreAccessError(
        f"cannot use {path} as a store: {error.strerror or error}"
        f"{f' ({error.filename})' if error.filename else ''}. {advice}, or name another path"
    )


def resolved(path: Path) -> Path:
    """Return the absolute path of a store, through all symbolic links.

    Raises
    ------
    StoreAccessError
    """
    try:
        return path.expanduser().resolve()
    except RuntimeError as error:  # links in a circle; since Python 3.13 only `stat` says so
        raise access_error(path, OSError(errno.ELOOP, os.strerror(errno.ELOOP))) from error


def check_ours(path: Path) -> bool:
    """Return whether `path` holds a store already; it reads only the header.

    Raises
    ------
    StoreFormatError
        It holds something else, which is left as it is.
    StoreAccessError
        It is no file, or must not be read.
    """
    _check_regular(path)
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


def _check_regular(path: Path) -> None:
    """Refuse what is no regular file before it is opened: to open a pipe waits for its writer."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise access_error(path, error) from error
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise StoreAccessError(
            f"cannot use {path} as a store: it is {kind} and not a file, so name another path"
        )


def open_file(path: Path, flags: int) -> int:
    """Open a file of a store, and make it if `flags` say so, for its owner alone.

    Whoever may write in the directory could put a link there, to a file that the broker would then
    write over; so it must be a file itself.

    Raises
    ------
    StoreAccessError
        It is a link, or no file.
    OSError
    """
    try:
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _no_file(path, "a symbolic link") from None
        if error.errno == errno.ENXIO:
            raise _no_file(path, "no regular file") from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _no_file(path, "no regular file")
    return fd


def check_beside(path: Path) -> None:
    """Refuse links in the places of the files that SQLite opens beside a store.

    Raises
    ------
    StoreAccessError
    """
    for more in ("-wal", "-shm", "-journal"):
        beside = path.with_name(path.name + more)
        if beside.is_symlink():
            raise _no_file(beside, "a symbolic link")


def _no_file(path: Path, what: str) -> StoreAccessError:
    return StoreAccessError(
        f"{path} belongs to a store, and is {what}: somebody else may have put it there. Look what "
        "it is, remove it, and keep stores where only their owner may write"
    )


def readers_text(path: Path) -> str | None:
    """Return a warning if other users of the machine may read a store; None if they may not."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & 0o077:
        return None
    return (
        f"other users of this machine may read the store {path}, and so the arguments and results "
        f"of all calls, because its mode is {mode:04o}: chmod 600 {path}*"
    )


def sync_directory(path: Path) -> None:
    """Make the entries of a directory durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def check_directory(path: Path) -> None:
    """Refuse to make a store where there is no directory: most often, its name is misspelled.

    Raises
    ------
    StoreAccessError
    """
    if not path.parent.is_dir():
        raise StoreAccessError(
            f"cannot use {path} as a store: there is no directory {path.parent}. Make it if that "
            "is the place that you mean, or name another path"
        )


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
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


class FileLock:
    """An exclusive lock on a store; the kernel drops it when the process ends.

    There are two parts. One is on a file beside the store's, which names the holder, and is taken
    before the store's file is made. The other is on the store's file itself (`hold_file`), which
    may have several names: by hard links, or where it is mounted.

    A forked child does not have the lock, whatever its parent does with it.

    Raises
    ------
    StoreLockedError
        Another process holds it, or this one does; the text says which.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._descriptors: list[int] = []
        self._identity: tuple[int, int] | None = None
        fd = open_file(Path(f"{store}.lock"), os.O_RDWR | os.O_CREAT)
        if not self._lock(fd):
            holder = os.read(fd, 1000).decode(errors="replace").strip()
            os.close(fd)
            raise _locked(store, holder or "another process")
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{_this_process()}\n".encode(), 0)

    @property
    def held(self) -> bool:
        """True until the release; never true in a forked child."""
        return bool(self._descriptors)

    def hold_file(self) -> None:
        """Lock the store's file itself, which exists by now.

        SQLite must open the file after this and close it before `release`, because a process that
        closes a file loses all locks of SQLite on it.
        """
        self._identity = _identity(self._store)
        assert self._identity is not None
        _open_here.add(self._identity)
        # Elsewhere this lock and those of SQLite may exclude each other.
        if sys.platform == "linux":
            fd = os.open(self._store, os.O_RDONLY | os.O_CLOEXEC)
            if not self._lock(fd):
                os.close(fd)
                self.release()
                names = holders("FLOCK", [self._store])
                raise _locked(
                    self._store,
                    f"{' and '.join(names) or 'another process'}, under another name of the file",
                )

    def release(self) -> None:
        """Let others open the store. The lock's file stays: without it, two could hold the lock."""
        _locks.discard(self)
        if self._identity is not None:
            _open_here.discard(self._identity)
        while self._descriptors:
            os.close(self._descriptors.pop())

    def forget(self) -> None:
        """Close what a forked child has inherited: it would keep the lock when its parent ends."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _lock(self, fd: int) -> bool:
        """Return whether the lock could be taken."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            os.close(fd)
            raise
        self._descriptors.append(fd)
        _locks.add(self)
        return True


def check_not_open_here(store: Path) -> None:
    """Refuse a file that this process has open as a store, without touching it.

    Only to open it and close it again would drop the locks that SQLite has on it.

    Raises
    ------
    StoreLockedError
    """
    if _identity(store) in _open_here:
        raise _locked(store, _this_process())


#: locks that this process holds
_locks: Final[WeakSet[FileLock]] = WeakSet()
#: device and inode of the files that are open as stores in this process
_open_here: Final[set[tuple[int, int]]] = set()


def _after_fork() -> None:
    for lock in list(_locks):
        lock.forget()
    _locks.clear()
    _open_here.clear()


os.register_at_fork(after_in_child=_after_fork)


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _locked(store: Path, holder: str) -> StoreLockedError:
    return StoreLockedError(
        f"the store {store} is open in {holder}. Stop that one first, or talk to it instead of "
        "opening its store"
    )
