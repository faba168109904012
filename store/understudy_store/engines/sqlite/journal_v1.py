"""The journal's first format: only read, and only when a store is upgraded.

A process of an earlier version that died may have left commits in a journal of this format. It is
read when the store's file names no journal, because the files of those versions never do. The
release after the next may drop this module.

A record began at a multiple of 4 KiB, in one of two halves of equal size. It had the magic "usj1",
the store's identity, the number of the commit, its length, and a CRC-32 of both; then the commit
followed. Nothing but the CRC told a record from a payload, so the reader trusts only records with
the identity of the store, and takes a record of another store for one only where a half begins:
there is never a payload.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from struct import Struct
from typing import Final
from zlib import crc32

from understudy_store.errors import StoreFormatError

_BLOCK_BYTES: Final = 4096
_MAGIC: Final = b"usj1"
_HEAD: Final = Struct("<4s8sQII")
_UNSEALED_BYTES: Final = _HEAD.size - 4


def records_in(content: mmap.mmap, store: bytes, path: Path) -> dict[int, bytes]:
    """Return every whole record of `store` by its number, however old.

    Raises
    ------
    StoreFormatError
        The journal is of another store.
    """
    found: dict[int, bytes] = {}
    starts = (0, len(content) // 2)
    at = 0
    while at + _HEAD.size <= len(content):
        owner, number, data = _record_at(content, at) or (None, 0, b"")
        if owner is not None and owner != store and at in starts:
            raise StoreFormatError(
                f"{path} is the journal of another store. Put back the one that belongs to the "
                "store, or move this one away if you can do without its commits"
            )
        if owner == store:
            found[number] = data
            at += -(-(_HEAD.size + len(data)) // _BLOCK_BYTES) * _BLOCK_BYTES
        else:
            at += _BLOCK_BYTES
    return found


def _record_at(content: mmap.mmap, at: int) -> tuple[bytes, int, bytes] | None:
    """Return the store, the number and the data of the record that begins at `at`."""
    magic, owner, number, length, crc = _HEAD.unpack_from(content, at)
    begin = at + _HEAD.size
    if magic != _MAGIC or begin + length > len(content):
        return None
    data = content[begin : begin + length]
    if crc != crc32(data, crc32(content[at : at + _UNSEALED_BYTES])):
        return None
    return owner, number, data
