"""The journal: what was committed, one record after the other, before it is in SQLite's file.

A commit of SQLite writes whole pages, and each row again that it changes. The journal writes what
changed, once, over bytes that the file has already: one system call, which returns when the bytes
are on the disk. It has two halves of fixed size. One is written while what the other holds is
brought into SQLite's file; then they change places.

A record begins at a multiple of 4 KiB, so that writing it never touches one that was written
before::

    magic  4 bytes     "usj1"
    store  8 bytes     of which store it is: drawn when that was made
    number 8 bytes     of the commit, little-endian; each one more than the one before
    length 4 bytes     of what follows the head
    crc    4 bytes     CRC-32 of the head up to here and of what follows
    a commit, as MessagePack

SQLite's file says up to which number it holds all. What counts in the journal are the records past
it: they must be there without a gap. One that is cut short is the last, and nobody was told of it.
A half is written over only once the file holds what is in it, so older records never count.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Final
from zlib import crc32

from understudy_store.engines.sqlite.files import sync_directory
from understudy_store.errors import StoreFormatError

#: of one half. A second of a busy store, or more
HALF_BYTES: Final = 8 * 1024 * 1024
#: no disk writes less at once, so no write can harm what lies in another block
BLOCK_BYTES: Final = 4096
#: more is not for the journal: whoever writes it waits for the bytes, not for the calls
RECORD_BYTES_MAX: Final = 1024 * 1024

_MAGIC: Final = b"usj1"
_HEAD: Final = Struct("<4s8sQII")
_CRC: Final = Struct("<I")
_UNSEALED_BYTES: Final = _HEAD.size - _CRC.size
#: where the system has it: past the page cache, which nobody reads
_DIRECT: Final = getattr(os, "O_DIRECT", 0)
_SYNCED: Final = getattr(os, "O_DSYNC", os.O_SYNC)


def write_through(fd: int, data: memoryview, offset: int) -> None:
    """Write `data`, durable on return: `fd` was opened for that."""
    written = os.pwritev(fd, [data], offset)
    if written != len(data):
        raise OSError(f"only {written} of {len(data)} bytes were written")


class Journal:
    """The journal in the file `path`, whose records are of the store `store`.

    Parameters
    ----------
    number
        Of the last commit that is in SQLite's file: what `path` holds is written over.

    Raises
    ------
    OSError
        As do all methods, after which the journal is not to be used any more.
    """

    def __init__(self, path: Path, store: bytes, number: int) -> None:
        self.path = path
        #: of the last record
        self.number = number
        self._store = store
        self._half_bytes = HALF_BYTES
        self._start = self._at = 0
        # Direct writes want memory that begins at a page.
        self._view = memoryview(mmap.mmap(-1, RECORD_BYTES_MAX))
        _make(path, 2 * self._half_bytes, self._view)
        self._fd = _open(path, self._view[:BLOCK_BYTES])

    def fits(self, data: bytes) -> bool:
        """Whether a record of `data` has room in this half."""
        return self._at + _blocks(len(data)) <= self._start + self._half_bytes

    def append(self, data: bytes) -> None:
        """Write a record, which is durable on return. It `fits`, and is no longer than the most."""
        number = self.number + 1
        view, end = self._view, _HEAD.size + len(data)
        view[: _HEAD.size] = _head(self._store, number, data)
        view[_HEAD.size : end] = data
        size = _blocks(len(data))
        write_through(self._fd, view[:size], self._at)
        self._at += size
        self.number = number

    def skip(self) -> None:
        """Number a commit that goes elsewhere. All before it must be in SQLite's file by now."""
        self.number += 1

    def switch(self) -> None:
        """Go on in the other half, and write over what is there."""
        self._start = self._at = self._half_bytes - self._start

    def close(self) -> None:
        """The file stays as it is."""
        # The buffer stays too, until nobody has it: an error that is kept may hold what it wrote.
        os.close(self._fd)


def most_bytes() -> int:
    """What a record may hold."""
    return RECORD_BYTES_MAX - _HEAD.size


def recover(path: Path, store: bytes, number: int) -> list[bytes]:
    """What the records after `number` hold, in order; nothing where there is no journal.

    Raises
    ------
    StoreFormatError
        It is of another store, or some of it is missing.
    """
    found: dict[int, bytes] = {}
    for owner, at, data in _records(path):
        if owner != store:
            raise StoreFormatError(
                f"{path} is the journal of another store. Put back the one that belongs to the "
                "store; if what it held is not wanted, move this one away"
            )
        if at > number:
            found[at] = data
    wanted = range(number + 1, number + 1 + len(found))
    if found and found.keys() != set(wanted):
        missing = min(set(wanted) - found.keys())
        raise StoreFormatError(
            f"{path} is damaged, or the store beside it is older than it: commit {missing} is in "
            "neither. Restore both from a copy, or move the journal away to go on without what "
            "it holds"
        )
    return [found[each] for each in wanted]


def _records(path: Path) -> Iterator[tuple[bytes, int, bytes]]:
    """Every whole record, however old: its store, its number and what it holds."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        if os.fstat(file.fileno()).st_size:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                yield from _records_in(content)


def _records_in(content: mmap.mmap) -> Iterator[tuple[bytes, int, bytes]]:
    at = 0
    while at + _HEAD.size <= len(content):
        magic, owner, number, length, crc = _HEAD.unpack_from(content, at)
        begin = at + _HEAD.size
        if magic == _MAGIC and begin + length <= len(content):
            data = content[begin : begin + length]
            if crc == _crc(content[at : at + _UNSEALED_BYTES], data):
                yield owner, number, data
                at += _blocks(length)
                continue
        at += BLOCK_BYTES


def _head(store: bytes, number: int, data: bytes) -> bytes:
    unsealed = _HEAD.pack(_MAGIC, store, number, len(data), 0)[:_UNSEALED_BYTES]
    return unsealed + _CRC.pack(_crc(unsealed, data))


def _crc(unsealed: bytes, data: bytes) -> int:
    return crc32(data, crc32(unsealed))


def _blocks(length: int) -> int:
    """Bytes that a record with so many bytes of data takes."""
    return -(-(_HEAD.size + length) // BLOCK_BYTES) * BLOCK_BYTES


def _make(path: Path, size: int, zeroes: memoryview) -> None:
    """See that the file is there with its full size, durably.

    To sync an append, a file system must also sync the file's new length, and for a hole, where its
    bytes are: so they are written here, once. Not all in one: an allocator that was asked for that
    much takes as much to be little from then on, and gives 10 MiB less back to the system.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if os.fstat(fd).st_size != size:
            os.ftruncate(fd, 0)
            try:
                for at in range(0, size, len(zeroes)):
                    part = zeroes[: size - at]
                    if os.pwrite(fd, part, at) != len(part):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            except OSError:
                os.ftruncate(fd, 0)  # leave to others what room there is
                raise
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_directory(path.parent)


def _open(path: Path, zeroes: memoryview) -> int:
    """For writes that are durable when they return. The first block is written over."""
    flags = os.O_RDWR | _SYNCED | os.O_CLOEXEC
    if _DIRECT:
        # Refused by file systems that have no such thing, here or at the first write.
        with suppress(OSError):
            fd = os.open(path, flags | _DIRECT)
            try:
                write_through(fd, zeroes, 0)
            except BaseException:
                os.close(fd)
                raise
            return fd
    return os.open(path, flags)
