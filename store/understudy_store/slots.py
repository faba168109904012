"""Homes and slots: where a promise lives, once there are several brokers.

The *home* of a promise is the text of its id before the first dot, and its *slot* is a number from
0 to 255 that follows from its home. One broker at a time has a slot, and with it every promise of
the homes in it. Both are functions of the id and of nothing else, so any peer can route any id
without asking anybody, and an id means one promise over all brokers.

By default, ids of calls begin with that of their caller: ``order-7`` calls ``order-7.1``, which
calls ``order-7.1.1``. So a call graph has one home, that of its root, and a commit that a function
makes about its own calls concerns one broker. An id that the user chooses has its own home.

A slot is the first byte of the CRC-32 of the home. Slots are stored, and every peer works them out
by itself, so neither that nor their number ever changes. CRC-32 is in the standard library of every
language and takes 0.1 µs. Ids that people make by counting spread more evenly than by a random
hash: of 10,000 homes ``order-N``, ``N-daily``, ``tenant-N-nightly`` or ``userN@example``, the
fullest slot has 1.08 to 1.36 times the mean (the last byte of the CRC: 1.13 to 1.46; SHA-256: 1.41
to 1.54). And homes that differ only in their last byte (``order-10`` to ``order-19``) never
share a slot.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final
from zlib import crc32

#: the number of slots, for ever
SLOTS: Final = 256
#: so that the first byte of the CRC is left
_SHIFT: Final = 24


def home_of(id_: str) -> str:
    """Return the home of a promise: its id up to the first dot.

    An id that begins with a dot has the empty home.

    Examples
    --------
    >>> home_of("order-7.3.pay")
    'order-7'
    >>> home_of("order-7")
    'order-7'
    """
    return id_.partition(".")[0]


def slot_of(id_: str) -> int:
    """Return the slot of a promise, or of anything else that has an id: 0 to `SLOTS` - 1.

    The id is text without lone surrogates, as the store takes it.

    Examples
    --------
    >>> slot_of("order-7"), slot_of("order-7.3.pay"), slot_of("order-8")
    (9, 9, 153)
    """
    return crc32(id_.partition(".")[0].encode()) >> _SHIFT


def slots_of(ids: Iterable[str]) -> list[int]:
    """Return the slot of each of `ids`.

    On the path of every row that is stored. The rows of one call graph come together, so the home
    of the row before is remembered: that halves the time of a fan-out. A cache of many homes takes
    as long as working the slots out.
    """
    slots: list[int] = []
    last: str | None = None
    slot = 0
    for id_ in ids:
        home = id_.partition(".")[0]
        if home != last:
            last = home
            slot = crc32(home.encode()) >> _SHIFT
        slots.append(slot)
    return slots


def shared_out(names: Sequence[str]) -> list[int]:
    """Share all slots out over brokers evenly, by nothing but their names.

    Each slot goes to the broker whose name and the slot's number have the greatest hash (rendezvous
    hashing), among those that do not have their part yet. So every broker finds the same by itself,
    and if one joins or leaves, most of the others' slots stay.

    Parameters
    ----------
    names
        Of the brokers; at least one. The order counts only if a name is there twice.

    Returns
    -------
    For each slot, the index in `names` of its broker.

    Examples
    --------
    >>> places = shared_out(["a", "b"])
    >>> places.count(0), places.count(1)
    (128, 128)
    """
    return list(_shared_out(tuple(names)))


# It takes a millisecond, and is asked for again and again about the same few names.
@lru_cache(maxsize=64)
def _shared_out(names: tuple[str, ...]) -> tuple[int, ...]:
    part = -(-SLOTS // len(names))
    room = dict.fromkeys(sorted(range(len(names)), key=lambda place: names[place]), part)
    places: list[int] = []
    for slot in range(SLOTS):
        place = max(room, key=lambda place: _weight(names[place], slot))
        places.append(place)
        room[place] -= 1
        if not room[place]:
            del room[place]
    return tuple(places)


def _weight(name: str, slot: int) -> bytes:
    return blake2b(f"{slot}/{name}".encode(), digest_size=8).digest()
