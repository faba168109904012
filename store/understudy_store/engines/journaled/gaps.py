"""Gaps: stretches of ids, in the order of bytes, in which the store has none.

Ids that people choose often ascend: ``order-1041``, ``order-1042``, ... A look for one of them may
as well ask for the first id from there on. If that is ``order-105``, the store has none in between,
and the next eight need no look. Of random ids nearly every one takes a look.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

#: Clients with ids of their own each go on in a gap of their own. The oldest is forgotten.
GAPS_MAX: Final = 8
#: To learn a gap is to walk over the ids that were inserted lately, so many of them at most.
WALK_MAX: Final = 4_096
#: While gaps are of no use, so many looks teach nothing before one does.
SKIPPED: Final = 15


class Gap(NamedTuple):
    """All ids from `first` up to, but without, `end`; None: to the last of all."""

    first: str
    end: str | None

    def contains(self, first: str, end: str) -> bool:
        """Return whether all ids from `first` up to `end` are in this gap."""
        return self.first <= first and (self.end is None or end <= self.end)

    def meets(self, first: str, end: str) -> bool:
        """Return whether an id from `first` up to `end` may be in this gap."""
        return self.first < end and (self.end is None or first < self.end)


class Gaps:
    """The gaps that are known; false if there are none. Not for several threads at once."""

    def __init__(self) -> None:
        self._gaps: list[Gap] = []
        #: looks to come that teach nothing
        self._to_skip = 0

    def __bool__(self) -> bool:
        return bool(self._gaps)

    def learn(self, gap: Gap, *inserted: set[str]) -> None:
        """Note that `gap` has no id at this moment but for `inserted` ones; or skip it."""
        if self._to_skip:
            self._to_skip -= 1
            return
        if sum(map(len, inserted)) > WALK_MAX:
            return
        self._to_skip = SKIPPED
        first, end = gap
        for ids in inserted:
            for id_ in ids:
                if first <= id_ and (end is None or id_ < end):
                    first = id_ + "\0"  # what follows it: no stored id has a NUL
        self._gaps = [*self._gaps[1 - GAPS_MAX :], Gap(first, end)]

    def contain(self, first: str, end: str) -> bool:
        """Return whether the store is known to have no id from `first` up to `end`."""
        if any(gap.contains(first, end) for gap in self._gaps):
            self._to_skip = 0
            return True
        return False

    def close(self, first: str, end: str) -> None:
        """Note that the store may have ids from `first` up to `end` from here on.

        Of a gap around them what follows is kept, because ids ascend.
        """
        if any(gap.meets(first, end) for gap in self._gaps):
            self._gaps = list(_without(self._gaps, first, end))

    def forget(self) -> None:
        """Know of no gap."""
        self._gaps = []


def _without(gaps: Iterable[Gap], first: str, end: str) -> Iterable[Gap]:
    for gap in gaps:
        if not gap.meets(first, end):
            yield gap
        elif gap.end is None or end < gap.end:
            yield Gap(max(end, gap.first), gap.end)
