"""Packed journal records: what the rows of a large commit have in common is written once.

The calls of a fan-out differ in little more than a number, so their records shrink to a few
hundredths: so much less goes over the network, into the server's WAL, and to its standbys. The
fastest level of zlib takes one to two microseconds for each call, and other threads go on
meanwhile. Small records stay as they are.
"""

from __future__ import annotations

import zlib
from typing import Final

#: bytes from which a record is packed
PACKED_MIN: Final = 4096
_LEVEL: Final = 1
#: The first byte of what zlib writes. A record that is not packed is an array in msgpack's form,
#: and those begin otherwise.
_MARK: Final = 0x78


def packed(record: bytes) -> bytes:
    """Return a record as the journal has it.

    Examples
    --------
    >>> record = b"\\x9b" + 2000 * b"order-7."
    >>> len(packed(record)) < 200, unpacked(packed(record)) == record
    (True, True)
    """
    return record if len(record) < PACKED_MIN else zlib.compress(record, _LEVEL)


def unpacked(data: bytes) -> bytes:
    """Return the record that `packed` was given.

    Raises
    ------
    zlib.error
        The data is damaged.
    """
    return zlib.decompress(data) if data[:1] == bytes([_MARK]) else data
