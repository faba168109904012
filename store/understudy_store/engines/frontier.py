"""Which ids cannot be in the store: those of children that are yet to come.

A function's calls are numbered: ``order-7.1``, ``order-7.2``, ... Nearly every id that is looked
for is the next of such a row, and to find out in SQLite's file that it is not there costs more than
creating it. Once it is known that an id had no descendants, and because all that is inserted since
is seen here, the greatest number of each row tells which ids are new.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: parents and ids that are known; the oldest ids are forgotten
KNOWN_MAX: Final = 65_536


def beyond_descendants(id_: str) -> str:
    """The least text behind all that begin with `id_` and a dot, in the order of their bytes."""
    return id_ + chr(ord(".") + 1)


def _split(id_: str) -> tuple[str, int]:
    """Parent and number; "" for what has no parent, and 0 for what is no number.

    Several may have the same number ("7" and "07"): they are new or not together.
    """
    parent, _, last = id_.rpartition(".")
    try:
        return parent, int(last)
    except ValueError:
        return parent, 0


def _upwards(id_: str) -> list[str]:
    """`id_`, and what is left of it when it is cut off at each of its dots, from the last one."""
    ids = []
    while id_:
        ids.append(id_)
        id_ = id_.rpartition(".")[0]
    return ids


class Frontier:
    """What is known of the descendants of some ids. Not for several threads at once.

    Of each known id, every descendant was inserted since it became known; and of each parent among
    them, the greatest number of a child is kept.
    """

    def __init__(self, known_max: int = KNOWN_MAX) -> None:
        self._known_max = known_max
        #: known id -> parent -> greatest number
        self._known: dict[str, dict[str, int]] = {}
        self._size = 0

    def learn(self, id_: str) -> None:
        """The store has no descendant of `id_` at this moment."""
        if id_ not in self._known:
            self._known[id_] = {}
            self._grow()

    def inserted(self, ids: Iterable[str]) -> set[str]:
        """They are in the store from here on. Returns what is above those of them that descend from
        no known id."""
        greatest: dict[str, int] = {}
        for id_ in ids:
            parent, number = _split(id_)
            if number > greatest.get(parent, -1):
                greatest[parent] = number
        strays: set[str] = set()
        for parent, number in greatest.items():
            if not self._raise(parent, number):
                strays.update(_upwards(parent))
        return strays

    def _raise(self, parent: str, number: int) -> bool:
        known = False
        for above in _upwards(parent):
            numbers = self._known.get(above)
            if numbers is None:
                continue
            known = True
            before = numbers.get(parent)
            numbers[parent] = number if before is None else max(before, number)
            if before is None:
                self._grow()
        return known

    def doubtful(self, ids: Iterable[str]) -> list[str]:
        """Without those that the store does not have for certain."""
        if not self._known:
            return list(ids)
        left: list[str] = []
        greatest: dict[str, int | None] = {}
        for id_ in ids:
            parent, number = _split(id_)
            if parent not in greatest:
                greatest[parent] = self._greatest(parent)
            most = greatest[parent]
            if most is None or number <= most:
                left.append(id_)
        return left

    def _greatest(self, parent: str) -> int | None:
        """The greatest number of a child of `parent`; None: it may be any."""
        for above in _upwards(parent):
            numbers = self._known.get(above)
            if numbers is not None:
                return numbers.get(parent, 0)
        return None

    def _grow(self) -> None:
        self._size += 1
        while self._size > self._known_max:
            oldest = next(iter(self._known))
            self._size -= 1 + len(self._known.pop(oldest))
