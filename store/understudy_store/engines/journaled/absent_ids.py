"""Ids that are known to be absent from the store: those of children and calls yet to come.

A function's calls are numbered: ``order-7.1``, ``order-7.2``, ... Nearly every id that is looked up
is the next number of its parent, and to learn from a database that it is absent costs more than
creating it. Once an id is known to have had no descendants, every descendant that it has was
inserted since, and all inserts are seen here, those of a slot for as long as the slot is. So the
greatest number of each parent's children tells which ids are absent. For calls that have no parent
there are `Gaps`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Final

from understudy_store.engines.journaled.gaps import Gap, Gaps
from understudy_store.slots import slots_of

#: ids and parents that are known together; the oldest ids are forgotten
KNOWN_MAX: Final = 65_536
#: Longer ids, and those with more dots, are never learned: anybody may ask for any text, and an id
#: with thousands of dots has as many ancestors.
CHARS_MAX: Final = 256
DOTS_MAX: Final = 16


def beyond_descendants(id_: str) -> str:
    """Return the least text after all that begin with `id_` and a dot, in the order of bytes."""
    return id_ + chr(ord(".") + 1)


def _split(id_: str) -> tuple[str, int]:
    """Return parent and number of an id; "" if it has no parent, 0 if it has no number.

    Several children may have the same number ("7" and "07"): all of them are known to be absent, or
    none. An id without a number above 0 is never known to be absent.
    """
    parent, _, last = id_.rpartition(".")
    try:
        return parent, int(last)
    except ValueError:
        return parent, 0


def _ancestors(id_: str) -> list[str]:
    """Return the ancestors of `id_` and `id_` itself, shortest first; only those to be learned.

    An ancestor is `id_` up to one of its dots.
    """
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
    """Knowledge of the descendants of some ids. Not for several threads at once.

    Every descendant of a known id was inserted since the id became known. Of each parent among the
    descendants, and of the id itself, the greatest number of a child is kept.
    """

    def __init__(self, known_max: int = KNOWN_MAX) -> None:
        self._known_max = known_max
        #: known id, then parent, then the greatest number of its children
        self._known: OrderedDict[str, dict[str, int]] = OrderedDict()
        self._size = 0
        self._gaps = Gaps()

    def learn(self, id_: str) -> None:
        """Note that the store has no descendant of `id_` at this moment, wherever it looks."""
        if id_ not in self._known and _may_be_learned(id_):
            self._known[id_] = {}
            self._grow()

    def learn_gap(self, gap: Gap, *inserted: set[str]) -> None:
        """Note that the store has no id in `gap` at this moment but for `inserted` ones."""
        self._gaps.learn(gap, *inserted)

    def forget(self, slots: Collection[int]) -> None:
        """Forget all ids of slots that leave: from here on, their inserts are not seen here."""
        self._gaps.forget()
        known = list(self._known)
        for id_, slot in zip(known, slots_of(known), strict=True):
            if slot in slots:
                self._size -= 1 + len(self._known.pop(id_))

    def inserted(self, ids: Iterable[str]) -> set[str]:
        """Note that `ids` are in the store from here on.

        Returns
        -------
        The ancestors of `ids`, as far as they may be learned.
        """
        greatest: dict[str, int] = {}
        for id_ in ids:
            parent, number = _split(id_)
            if number > greatest.setdefault(parent, 0):
                greatest[parent] = number
            if not parent:
                self._gaps.close(id_, beyond_descendants(id_))
        ancestors: set[str] = set()
        for parent, number in greatest.items():
            if parent:
                self._gaps.close(parent, beyond_descendants(parent))
            those_of_parent = _ancestors(parent)
            ancestors.update(those_of_parent)
            for each in those_of_parent:
                self._raise_number(each, parent, number)
        return ancestors

    def _raise_number(self, known: str, parent: str, number: int) -> None:
        numbers = self._known.get(known)
        if numbers is None:
            return
        before = numbers.get(parent)
        if before is None:
            numbers[parent] = number
            self._grow()
        elif number > before:
            numbers[parent] = number

    def possible(self, ids: Iterable[str]) -> list[str]:
        """Return `ids` without those that are known to be absent."""
        if not self._known and not self._gaps:
            return list(ids)
        possible: list[str] = []
        greatest: dict[str, int | None] = {}
        for id_ in ids:
            parent, number = _split(id_)
            if parent not in greatest:
                greatest[parent] = self._greatest(parent)
            most = greatest[parent]
            if most is None and self._gaps.contain(id_, beyond_descendants(id_)):
                self.learn(id_)
            elif most is None or number <= most:
                possible.append(id_)
        return possible

    def _greatest(self, parent: str) -> int | None:
        """Return the greatest number of a child of `parent`; None if it is unknown."""
        for ancestor in _ancestors(parent):
            numbers = self._known.get(ancestor)
            if numbers is not None:
                return numbers.get(parent, 0)
        return None

    def _grow(self) -> None:
        self._size += 1
        while self._size > self._known_max:
            # In a plain dict it takes ever longer to find the first entry, after deletions.
            _, numbers = self._known.popitem(last=False)
            self._size -= 1 + len(numbers)
