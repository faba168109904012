"""The journal: a file of commits, one record after the other, that SQLite's file does not have yet.

It has a header and two halves of fixed size. Commits go to one half while the commits of the other
are written to SQLite's file; then they change places. Appending a record is one system call, which
writes over bytes that the journal's file has already, and returns when they are on the disk.

The header takes a block of 4 KiB and is written once, when the journal is made::

    title  16 bytes    "understudy-jrnl2"
    store  8 bytes     identity of the store: drawn when the store was made
    mark   8 bytes     identity of the journal: drawn when the journal was made
    crc    4 bytes     CRC-32 of the header up to here

A record takes whole blocks, so that writing it never touches one that was written before::

    magic  4 bytes     "usj2"
    mark   8 bytes     of the journal
    place  8 bytes     of this record in the file, little-endian
    number 8 bytes     of the commit; each one more than the one before
    length 4 bytes     of the commit that follows the head
    crc    4 bytes     CRC-32 of the head up to here and of the commit
    a commit, as MessagePack; each further block of it begins with "more"

**No payload is taken for a record.** Payloads are bytes of strangers, and a long record that was
written over leaves blocks of itself behind. A record is recognized only at the beginning of a
block, and there is never a byte of a commit there: it is the magic of a record or the word "more".
Besides, a record repeats its place and the mark, so a record that was copied from another place or
another journal is none.

SQLite's file says up to which number it has all commits. The records after that number count; they
must be there without a gap. A record that is cut short is the last one, and nobody was told of it.
A half is written over only once the file has its commits, so older records never count.

SQLite's file also keeps the mark for as long as the journal may have commits that it lacks, so a
file without its journal, or with another one, is recognized (`journal_recovery`).
"""

from __future__ import annotations

import errno
import mmap
import os
import secrets
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from understudy_store.engines.sqlite.files import open_file, sync_directory

#: Size of one half: a second of a busy store, or more. Recovery takes a journal that is smaller for
#: one that was cut short, so with another size the journal's title must be another, too.
HALF_BYTES: Final = 8 * 1024 * 1024
#: No disk writes less at once, so no write can harm a record in another block.
BLOCK_BYTES: Final = 4096
#: Larger commits go to SQLite's file at once: they take as long as their bytes, wherever they go.
RECORD_BYTES_MAX: Final = 1024 * 1024
MARK_BYTES: Final = 8

_TITLE: Final = b"understudy-jrnl2"
_HEADER: Final = Struct("<16s8s8sI")
_MAGIC: Final = b"usj2"
_MORE: Final = b"more"
_HEAD: Final = Struct("<4s8sQQII")
_CRC: Final = Struct("<I")
_UNSEALED_BYTES: Final = _HEAD.size - _CRC.size
#: bytes of a commit in the first block of its record, and in each further one
_FIRST_BYTES: Final = BLOCK_BYTES - _HEAD.size
_MORE_BYTES: Final = BLOCK_BYTES - len(_MORE)
#: past the page cache, because nobody reads the journal; 0 where the system does not have it
_DIRECT: Final = getattr(os, "O_DIRECT", 0)
_SYNCED: Final = getattr(os, "O_DSYNC", os.O_SYNC)


class Header(NamedTuple):
    """The header of a journal: the store that it belongs to, and its own identity."""

    store: bytes
    mark: bytes


class Record(NamedTuple):
    """A whole record: the number of its commit, the commit, and how many bytes it occupies."""

    number: int
    data: bytes
    size: int


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

    Attributes
    ----------
    mark
        The identity of this journal. No commit counts before SQLite's file names it.

    Raises
    ------
    OSError
        Also raised by the methods; the journal must not be used afterwards.
    """

    def __init__(self, path: Path, store: bytes, number: int) -> None:
        self.path = path
        #: of the last commit
        self.number = number
        self.mark = secrets.token_bytes(MARK_BYTES)
        self._half_bytes = HALF_BYTES
        self._start = self._at = BLOCK_BYTES
        # Direct writes need memory that begins at a page.
        self._view = memoryview(mmap.mmap(-1, RECORD_BYTES_MAX))
        _make(path, file_bytes(), self._view)
        self._view[: _HEADER.size] = _header(store, self.mark)
        self._fd = _open(path, self._view[:BLOCK_BYTES])
        for at in range(BLOCK_BYTES, RECORD_BYTES_MAX, BLOCK_BYTES):
            self._view[at : at + len(_MORE)] = _MORE

    def takes(self, data: bytes) -> bool:
        """Return whether a record can hold `data` at all."""
        return len(data) <= data_bytes_max()

    def fits(self, data: bytes) -> bool:
        """Return whether a record of `data` has room in this half."""
        size = _blocks(len(data))
        return size <= min(RECORD_BYTES_MAX, self._start + self._half_bytes - self._at)

    @property
    def has_room(self) -> bool:
        """True if any record that the journal takes has room in this half."""
        return self._start + self._half_bytes - self._at >= RECORD_BYTES_MAX

    def append(self, data: bytes) -> None:
        """Write a record with the next number, durable on return. It `fits`."""
        number = self.number + 1
        size = _blocks(len(data))
        _lay_out(self._view, _head(self.mark, self._at, number, data), data)
        write_through(self._fd, self._view[:size], self._at)
        self._at += size
        self.number = number

    def skip(self) -> None:
        """Count a commit that goes straight to SQLite's file, which has all before it."""
        self.number += 1

    def switch(self) -> None:
        """Go on in the other half, and write over its content."""
        self._start = self._at = 2 * BLOCK_BYTES + self._half_bytes - self._start

    def close(self) -> None:
        """Close the file, which stays as it is."""
        # The buffer stays too, as long as somebody refers to it: the traceback of an error may.
        os.close(self._fd)


def file_bytes() -> int:
    """Return the size of a journal's file, which it has before a store's file names it."""
    return BLOCK_BYTES + 2 * HALF_BYTES


def data_bytes_max() -> int:
    """Return the most bytes of data that a record may hold."""
    return _FIRST_BYTES + (RECORD_BYTES_MAX // BLOCK_BYTES - 1) * _MORE_BYTES


# ---- the format -----------------------------------------------------------------------------


def header_in(content: mmap.mmap) -> Header | None:
    """Return the header of a journal's content; None if it has none of this format."""
    if len(content) < _HEADER.size:
        return None
    title, store, mark, crc = _HEADER.unpack_from(content)
    if title != _TITLE or crc != crc32(content[: _HEADER.size - _CRC.size]):
        return None
    return Header(store, mark)


def record_at(content: mmap.mmap, place: int, mark: bytes) -> Record | None:
    """Return the record of the journal `mark` that begins at `place`; None if none does."""
    if place + BLOCK_BYTES > len(content):
        return None
    magic, marked, placed, number, length, crc = _HEAD.unpack_from(content, place)
    size = _blocks(length)
    if (magic, marked, placed) != (_MAGIC, mark, place) or place + size > len(content):
        return None
    parts = [content[place + _HEAD.size : place + BLOCK_BYTES]]
    for at in range(place + BLOCK_BYTES, place + size, BLOCK_BYTES):
        if content[at : at + len(_MORE)] != _MORE:
            return None
        parts.append(content[at + len(_MORE) : at + BLOCK_BYTES])
    data = b"".join(parts)[:length]
    if crc != _crc(content[place : place + _UNSEALED_BYTES], data):
        return None
    return Record(number, data, size)


def _header(store: bytes, mark: bytes) -> bytes:
    unsealed = _HEADER.pack(_TITLE, store, mark, 0)[: -_CRC.size]
    return unsealed + _CRC.pack(crc32(unsealed))


def _head(mark: bytes, place: int, number: int, data: bytes) -> bytes:
    unsealed = _HEAD.pack(_MAGIC, mark, place, number, len(data), 0)[:_UNSEALED_BYTES]
    return unsealed + _CRC.pack(_crc(unsealed, data))


def _lay_out(view: memoryview, head: bytes, data: bytes) -> None:
    """Put a record into `view`, whose blocks but the first begin with their word already."""
    end = _HEAD.size + len(data)
    view[: _HEAD.size] = head
    if end <= BLOCK_BYTES:
        view[_HEAD.size : end] = data
        return
    source = memoryview(data)
    view[_HEAD.size : BLOCK_BYTES] = source[:_FIRST_BYTES]
    at = BLOCK_BYTES + len(_MORE)
    for begin in range(_FIRST_BYTES, len(data), _MORE_BYTES):
        part = source[begin : begin + _MORE_BYTES]
        view[at : at + len(part)] = part
        at += BLOCK_BYTES


def _crc(unsealed: bytes, data: bytes) -> int:
    return crc32(data, crc32(unsealed))


def _blocks(length: int) -> int:
    """Return the bytes that a record with `length` bytes of data occupies."""
    more = -(-max(0, length - _FIRST_BYTES) // _MORE_BYTES)
    return (1 + more) * BLOCK_BYTES


# ---- the file -------------------------------------------------------------------------------


def _make(path: Path, size: int, zeroes: memoryview) -> None:
    """Make the file with its full size, durably, if it is not there.

    Its bytes are written here, once. Otherwise each append would also have to sync the file's new
    length, or, in a file with holes, the place of its new blocks. They are not written in one piece
    from one large buffer, because an allocator that was asked for so much at once considers as much
    to be little from then on, and gives 10 MiB less back to the system.
    """
    fd = open_file(path, os.O_RDWR | os.O_CREAT)
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


def _open(path: Path, header: memoryview) -> int:
    """Open the file for writes that are durable when they return, and write its header so."""
    flags = os.O_RDWR | _SYNCED
    if _DIRECT:
        # File systems without direct writes refuse them here, or at the first write.
        with suppress(OSError):
            return _headed(open_file(path, flags | _DIRECT), header)
    return _headed(open_file(path, flags), header)


def _headed(fd: int, header: memoryview) -> int:
    try:
        write_through(fd, header, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd
