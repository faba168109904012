"""The journal: a file of commits, one record after the other, that SQLite's file does not have yet.

It has two halves of fixed size. Commits go to one while the commits of the other are written to
SQLite's file; then they change places. Appending a record is one system call, which writes over
bytes that the journal's file has already, and returns when they are on the disk.

A record begins at a multiple of 4 KiB, so that writing it never touches one that was written
before::

    magic  4 bytes     "usj1"
    store  8 bytes     identity of the store: drawn when it was made
    number 8 bytes     of the commit, little-endian; each one more than the one before
    length 4 bytes     of the commit that follows the head
    crc    4 bytes     CRC-32 of the head up to here and of the commit
    a commit, as MessagePack

SQLite's file says up to which number it has all commits. The records after that number count; they
must be there without a gap. A record that is cut short is the last one, and nobody was told of it.
A half is written over only once the file has its commits, so older records never count.
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

#: size of one half: a second of a busy store, or more
HALF_BYTES: Final = 8 * 1024 * 1024
#: No disk writes less at once, so no write can harm a record in another block.
BLOCK_BYTES: Final = 4096
#: Larger commits go to SQLite's file at once: they take as long as their bytes, wherever they go.
RECORD_BYTES_MAX: Final = 1024 * 1024

_MAGIC: Final = b"usj1"
_HEAD: Final = Struct("<4s8sQII")
_CRC: Final = Struct("<I")
_UNSEALED_BYTES: Final = _HEAD.size - _CRC.size
#: past the page cache, because nobody reads the journal; 0 where the system does not have it
_DIRECT: Final = getattr(os, "O_DIRECT", 0)
_SYNCED: Final = getattr(os, "O_DSYNC", os.O_SYNC)


def write_through(fd: int, data: memoryview, offset: int) -> None:
    """Write `data`, durable on return, because `fd` was opened for that."""
    written = os.pwritev(fd, [data], offset)
    if written != len(data):
        raise OSError(f"only {written} of {len(data)} bytes were written")


class Journal:
    """The journal in the file `path`, whose records are of the store `store`.

    Parameters
    ----------
    number
        Of the last commit that is in SQLite's file, which must have all commits: the content of
        `path` is written over.

    Raises
    ------
    OSError
        Also raised by the methods; the journal must not be used afterwards.
    """

    def __init__(self, path: Path, store: bytes, number: int) -> None:
        self.path = path
        #: of the last commit
        self.number = number
        self._store = store
        self._half_bytes = HALF_BYTES
        self._start = self._at = 0
        # Direct writes need memory that begins at a page.
        self._view = memoryview(mmap.mmap(-1, RECORD_BYTES_MAX))
        _make(path, 2 * self._half_bytes, self._view)
        self._fd = _open(path, self._view[:BLOCK_BYTES])

    def takes(self, data: bytes) -> bool:
        """Return whether a record can hold `data` at all."""
        return len(data) <= RECORD_BYTES_MAX - _HEAD.size

    def fits(self, data: bytes) -> bool:
        """Return whether a record of `data` has room in this half."""
        size = _HEAD.size + len(data)
        end = self._start + self._half_bytes
        return size <= RECORD_BYTES_MAX and self._at + _blocks(len(data)) <= end

    def append(self, data: bytes) -> None:
        """Write a record with the next number, durable on return. It `fits`."""
        number = self.number + 1
        view, end = self._view, _HEAD.size + len(data)
        view[: _HEAD.size] = _head(self._store, number, data)
        view[_HEAD.size : end] = data
        size = _blocks(len(data))
        write_through(self._fd, view[:size], self._at)
        self._at += size
        self.number = number

    def skip(self) -> None:
        """Count a commit that goes straight to SQLite's file, which has all before it."""
        self.number += 1

    def switch(self) -> None:
        """Go on in the other half, and write over its content."""
        self._start = self._at = self._half_bytes - self._start

    def close(self) -> None:
        """Close the file, which stays as it is."""
        # The buffer stays too, as long as somebody refers to it: the traceback of an error may.
        os.close(self._fd)


def data_bytes_max() -> int:
    """Return the most bytes of data that a record may hold."""
    return RECORD_BYTES_MAX - _HEAD.size


def recover(path: Path, store: bytes, number: int) -> list[bytes]:
    """Return the data of the records after `number`, in order; nothing if there is no journal.

    Raises
    ------
    StoreFormatError
        The journal is of another store, or a record is missing.
    """
    found: dict[int, bytes] = {}
    for owner, at, data in _records(path):
        if owner != store:
            raise StoreFormatError(
                f"{path} is the journal of another store. Put back the one that belongs to the "
                "store, or move this one away if you can do without its commits"
            )
        if at > number:
            found[at] = data
    wanted = range(number + 1, number + 1 + len(found))
    if found and found.keys() != set(wanted):
        missing = min(set(wanted) - found.keys())
        raise StoreFormatError(
            f"{path} is damaged, or the store beside it is older than it: commit {missing} is in "
            "neither. Restore both from a copy, or move the journal away to go on without its "
            "commits"
        )
    return [found[each] for each in wanted]


def _records(path: Path) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield every whole record, however old: its store, its number and its data."""
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
    """Return the bytes that a record with `length` bytes of data occupies."""
    return -(-(_HEAD.size + length) // BLOCK_BYTES) * BLOCK_BYTES


def _make(path: Path, size: int, zeroes: memoryview) -> None:
    """Make the file with its full size, durably, if it is not there.

    Its bytes are written here, once. Otherwise each append would also have to sync the file's new
    length, or, in a file with holes, the place of its new blocks. They are not written in one piece
    from one large buffer, because an allocator that was asked for so much at once considers as much
    to be little from then on, and gives 10 MiB less back to the system.
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
                os.ftruncate(fd, 0)  # leaves the room to others
                raise
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_directory(path.parent)


def _open(path: Path, zeroes: memoryview) -> int:
    """Open the file for writes that are durable when they return; write over its first block."""
    flags = os.O_RDWR | _SYNCED | os.O_CLOEXEC
    if _DIRECT:
        # File systems without direct writes refuse them here, or at the first write.
        with suppress(OSError):
            fd = os.open(path, flags | _DIRECT)
            try:
                write_through(fd, zeroes, 0)
            except BaseException:
                os.close(fd)
                raise
            return fd
    return os.open(path, flags)
