"""Refuses sets and dicts that are made to take very long to build.

Python's hashes of numbers, and of tuples of numbers, can be foretold, so a sender can choose
100,000 of them with one hash. A set of these takes minutes to build, and nothing else runs in the
process meanwhile. What is tested here takes no longer than to build an honest one.

- `check_hashes` tests what becomes a set, or the keys of a dict, before it does.
- msgspec builds the dicts that msgpack has. `check_keys` tests their keys before: we write none but
  texts and integers of 64 bits, and of those no more than 16 have one hash.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Collection
from typing import Any, Final

import msgspec
from msgspec.msgpack import Decoder

#: No fewer keys than this are worth a test.
FEW: Final = 64
#: comparisons for each item that are too many
_COMPARISONS_MAX: Final = 32

_Scalar = None | bool | int | float | str
#: the first bytes of msgpack's maps of `FEW` entries or more, which other things may have, too
_MAP_32: Final = b"\xdf"
_MAP_16: Final = re.compile(rb"\xde(?:\x00[\x40-\xff]|[\x01-\xff])", re.DOTALL)
_SCALARS: Final = Decoder(_Scalar | list[_Scalar] | dict[str | int, _Scalar])
_MAP: Final = Decoder(dict[str | int, msgspec.Raw])
_ARRAY: Final = Decoder(list[msgspec.Raw])


class CollisionError(Exception):
    """Too many items have the same hash, or a dict has keys that are not ours."""


def check_hashes(items: Collection[Any]) -> None:
    """Test what is to become a set, or the keys of a dict.

    Raises
    ------
    CollisionError
        Too many have the same hash.
    TypeError
        One has none.
    """
    count = len(items)
    if count < FEW:
        return
    if len(set(map(hash, items))) == count:
        return
    # The hashes themselves are integers of 61 bits, whose own hashes are all different.
    comparisons = sum(same * same for same in Counter(map(hash, items)).values())
    if comparisons > _COMPARISONS_MAX * count:
        raise CollisionError("a set or a dict has too many items with the same hash")


def check_keys(data: bytes | bytearray | memoryview) -> None:
    """Test the keys of the dicts in msgpack data, those inside extensions not.

    It is quick where no dict can have `FEW` keys, which the bytes show.

    Raises
    ------
    CollisionError
        A dict has a key that is neither a text nor an integer.
    msgspec.DecodeError
        It is no msgpack.
    """
    data = bytes(data)  # which can be searched; if it is that already, it is not copied
    if _MAP_32 not in data and _MAP_16.search(data) is None:
        return
    waiting: list[Any] = [data]
    while waiting:
        part = waiting.pop()
        with contextlib.suppress(msgspec.ValidationError):
            _SCALARS.decode(part)
            continue
        head = memoryview(part)[:1].tobytes()
        if b"\x80" <= head <= b"\x8f" or head in (b"\xde", b"\xdf"):
            try:
                waiting += _MAP.decode(part).values()
            except msgspec.ValidationError:
                raise CollisionError("a dict has keys that are neither text nor integers") from None
        elif b"\x90" <= head <= b"\x9f" or head in (b"\xdc", b"\xdd"):
            waiting += _ARRAY.decode(part)
