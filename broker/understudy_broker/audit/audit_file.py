"""`AuditFile`: the file of an audit, appended to and never through a link, and its older parts.

When the file has its size, it gets the next number (``audit.jsonl.000001``) and a new one goes on
with the chain. Older parts are never removed here: that is for whoever keeps them.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from understudy_broker.audit.chain import (
    LINE_BYTES_MAX,
    START,
    Link,
    Record,
    begins_audit,
    extended,
    last_link,
    torn_record,
)
from understudy_broker.errors import BrokerError

_MODE: Final = 0o600
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_WRITABLE: Final = stat.S_IWGRP | stat.S_IWOTH
#: How much of a file's end is looked at: more than a batch of lines that a crash may have torn.
_TAIL_BYTES: Final = 4 * 1024 * 1024
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class AuditFileError(BrokerError):
    """The file of an audit cannot be used; the message says why."""


class AuditFile:
    """The file of an audit, open for appending. For one thread at a time.

    Parameters
    ----------
    path
        The file, which is made if it is missing; its folder must be there.
    bytes_max
        Bytes from which on the file is put aside for a new one.

    Raises
    ------
    AuditFileError
        It is no audit, or another broker's, or others could read or replace it.
    """

    def __init__(self, path: Path, bytes_max: int) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._descriptor = -1
        self._size = 0
        self._end = START
        self._open()

    def write(self, records: Sequence[Record]) -> None:
        """Append records, durably.

        Raises
        ------
        AuditFileError
            They may be there in part. The next call opens the file anew, says what it finds that is
            not whole, and goes on.
        """
        try:
            if self._descriptor < 0:
                self._open()
            if self._size >= self._bytes_max:
                self._put_aside()
            lines, end = extended(self._end, records)
            self._append(b"".join(lines))
        except AuditFileError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise AuditFileError(f"cannot write {self._path}: {error.strerror}") from None
        self._end = end

    def close(self) -> None:
        """Close the file; another process may write it then."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _append(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            count = os.write(self._descriptor, left)
            self._size += count
            left = left[count:]
        os.fsync(self._descriptor)

    def _open(self) -> None:
        _check_folder(self._path.parent)
        try:
            descriptor = os.open(self._path, _FLAGS | os.O_CREAT, _MODE)
        except OSError as error:
            # ELOOP is what O_NOFOLLOW gives.
            why = "it is a link" if self._path.is_symlink() else error.strerror
            raise AuditFileError(f"cannot open the audit {self._path}: {why}") from None
        self._descriptor = descriptor
        try:
            _check_file(self._path, descriptor)
            self._go_on()
        except BaseException:
            self.close()
            raise

    def _go_on(self) -> None:
        """Find the end of the chain, and say what a crash has left after it."""
        self._size = os.fstat(self._descriptor).st_size
        link, rest = _end_of(self._path, self._descriptor, self._size)
        if link is None:
            self._end = self._end_of_older()
        else:
            self._end = link
        if not self._size:
            _sync_folder(self._path.parent)
        elif not rest:
            if os.pread(self._descriptor, 1, self._size - 1) != b"\n":
                self._append(b"\n")
            return
        if rest:
            if not rest.endswith(b"\n"):
                self._append(b"\n")
                rest += b"\n"
            record = torn_record(time.time_ns() // 1_000_000, rest)
            lines, self._end = extended(self._end, [record])
            self._append(lines[0])

    def _end_of_older(self) -> Link:
        """Return the end of the chain in the newest of the older parts."""
        older = older_parts(self._path)
        if not older:
            return START
        descriptor = os.open(older[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            link, _ = _end_of(older[-1], descriptor, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)
        return START if link is None else link

    def _put_aside(self) -> None:
        """Give the file the next number, and go on with a new one."""
        older = older_parts(self._path)
        number = 1 + (_number(self._path, older[-1]) if older else 0)
        self._path.rename(self._path.with_name(f"{self._path.name}.{number:06}"))
        before = self._descriptor
        descriptor = os.open(self._path, _FLAGS | os.O_CREAT | os.O_EXCL, _MODE)
        self._descriptor = descriptor
        os.close(before)
        _check_file(self._path, descriptor)
        self._size = 0
        _sync_folder(self._path.parent)


def older_parts(path: Path) -> list[Path]:
    """Return the parts of an audit that were put aside, the oldest first."""
    try:
        names = os.listdir(path.parent)  # noqa: PTH208 - only names are wanted
    except OSError:
        return []
    found = [path.with_name(name) for name in names if _number(path, path.with_name(name))]
    return sorted(found, key=lambda each: _number(path, each))


def _number(path: Path, part: Path) -> int:
    """Return the number of a part; 0 if it is none."""
    found = re.fullmatch(re.escape(path.name) + r"\.(\d{6,})", part.name, re.ASCII)
    return int(found[1]) if found else 0


def _end_of(path: Path, descriptor: int, size: int) -> tuple[Link | None, bytes]:
    tail = os.pread(descriptor, _TAIL_BYTES, max(0, size - _TAIL_BYTES))
    start = os.pread(descriptor, LINE_BYTES_MAX, 0)
    link, rest = last_link(tail, is_whole_file=size <= _TAIL_BYTES)
    if link is None and size and not (begins_audit(start) and size <= _TAIL_BYTES):
        raise AuditFileError(
            f"{path} is no audit, or its end is damaged: name another file, or move it away"
        )
    return link, rest


def _check_folder(folder: Path) -> None:
    try:
        found = folder.stat()
    except OSError as error:
        raise AuditFileError(f"cannot use the folder {folder}: {error.strerror}") from None
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & _WRITABLE:
        raise AuditFileError(
            f"others can write to the folder {folder}, and so replace the audit: give it a folder "
            "of its own"
        )


def _check_file(path: Path, descriptor: int) -> None:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise AuditFileError(f"{path} is no file")
    if found.st_nlink != 1:
        raise AuditFileError(f"the audit {path} has another name as well: name another file")
    if found.st_uid != os.geteuid() or found.st_mode & _OTHERS:
        raise AuditFileError(
            f"the audit {path} must belong to the user who runs this, and be readable by nobody "
            f"else: chmod 600 {path}"
        )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise AuditFileError(f"another process writes the audit {path}") from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
