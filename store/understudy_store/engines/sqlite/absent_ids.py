"""Which ids cannot be in the store: those of children that are yet to come.

A function's calls are numbered: ``order-7.1``, ``order-7.2``, ... Nearly every id that is looked
for is the next of such a row, and to find out in SQLite's file that it is not there costs more than
creating it. Once it is known that an id had no descendants, and because all that is inserted since
is seen here, the greatest number of each row tells which ids are new.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

#: parents and ids that are known; the oldest ids are forgotten
KNOWN_MAX: Final = 65_536
#: What is longer, or has more dots, is never learned: anybody may ask for any text, and what has
#: thousands of dots has as many ids above it.
CHARS_MAX: Final = 256
DOTS_MAX: Final = 16


def beyond_descendants(id_: str) -> str:
    """The least text behind all that begin with `id_` and a dot, in the order of their bytes."""
    return id_ + chr(ord(".") + 1)


def _split(id_: str) -> tuple[str, int]:
    """Parent and number; "" for what has no parent, and 0 for what is no number.

    Several may have the same number ("7" and "07"): they are new or not together. What has none,
    or one that is not above 0, is never new.
    """
    parent, _, last = id_.rpartition(".")
    try:
        return parent, int(last)
    except ValueError:
        return parent, 0


def _upwards(id_: str) -> list[str]:
    """What is left of `id_` when it is cut off at each of its dots, and `id_` itself: those of them
    that may be learned, the shortest first."""
    ids: list[str] = []
    at = id_.find(".", 1)
    while 0 < at <= CHARS_MAX and len(ids) <= DOTS_MAX:
        ids.append(id_[:at])
        at = id_.find(".", at + 1)
    if at < 0 and _may_be_learned(id_):
        ids.append(id_)
    return ids


def _may_be_learned(id_: str) -> bool:
    return 0 < len(id_) <= CHARS_MAX and id_.count(".") <= DOTS_MAX


class AbsentIds:
    """What is known of the descendants of some ids. Not for several threads at once.

    Of each known id, every descendant was inserted since it became known; and of each parent among
    them, the greatest number of a child is kept.
    """

    def __init__(self, known_max: int = KNOWN_MAX) -> None:
        self._known_max = known_max
        #: known id -> parent -> greatest number
        self._known: OrderedDict[str, dict[str, int]] = OrderedDict()
        self._size = 0

    def learn(self, id_: str) -> None:
        """The store has no descendant of `id_` at this moment: not in its file, nor elsewhere."""
        if id_ not in self._known and _may_be_learned(id_):
            self._known[id_] = {}
            self._grow()

    def inserted(self, ids: Iterable[str]) -> set[str]:
        """They are in the store from here on. Returns what has descendants among them, as far as it
        may be learned."""
        greatest: dict[str, int] = {}
        for id_ in ids:
            parent, number = _split(id_)
            if number > greatest.setdefault(parent, 0):
                greatest[parent] = number
        above: set[str] = set()
        for parent, number in greatest.items():
            upwards = _upwards(parent)
            above.update(upwards)
            for each in upwards:
                self._raise(each, parent, number)
        return above

    def _raise(self, known: str, parent: str, number: int) -> None:
        numbers = self._known.get(known)
        if numbers is None:
            return
        before = numbers.get(parent)
        if before is None:
            numbers[parent] = number
            self._grow()
        elif number > before:
            numbers[parent] = number

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
            # of a plain dict, the first is ever further to find
            _, numbers = self._known.popitem(last=False)
            self._size -= 1 + len(numbers)
