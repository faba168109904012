"""The view of finds: the commits that the table lacks, in memory, and the table behind them.

A commit is in one of two memtables from the moment in which it is durable until the table has it,
and finds look there first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from threading import Lock
from typing import NamedTuple, Protocol

from understudy_store.changes import Changes
from understudy_store.engines.journaled.absent_ids import AbsentIds, beyond_descendants
from understudy_store.engines.journaled.gaps import Gap
from understudy_store.engines.journaled.memtable import Memtable, memtable_of
from understudy_store.records import Row


class Findable(Protocol):
    """The table, as finds see it; beside everything else that is done with it."""

    def find(self, ids: Collection[str]) -> list[Row]:
        """Return the rows of `ids`, each named once."""

    def first_from(self, id_: str) -> str | None:
        """Return the first id from `id_` on, in the order of bytes; None if there is none."""


class Look(NamedTuple):
    """The answer of memory about some ids, at one moment.

    Attributes
    ----------
    found
        The rows of those that it has.
    elsewhere
        Those that the table may have.
    is_single
        There is one such id, and no memtable inserts a descendant of it.
    writes
        How often the table had been written.
    """

    ids: Collection[str]
    found: list[Row]
    elsewhere: list[str]
    is_single: bool
    writes: int


class View:
    """The memtables over a table. Finds may come from any thread, all else from one at a time.

    Attributes
    ----------
    active
        Commits in the half of the log that is being written.
    sealed
        Commits in the other half.
    """

    def __init__(self, table: Findable) -> None:
        self._table = table
        self.active = Memtable()
        self.sealed = Memtable()
        #: ids that a commit inserts which goes straight to the table
        self._passing: set[str] = set()
        self._absent = AbsentIds()
        #: writes to the table that have begun, and slots' comings and goings
        self._table_writes = 0
        #: held while the five above change; a find sees no half of a commit
        self._lock = Lock()

    # ---- finding --------------------------------------------------------------------------------

    def find_known(self, ids: Collection[str]) -> list[Row] | None:
        """Return what `find` would without a look at the table; None if it takes one."""
        with self._lock:
            found, elsewhere = self._find_in_memory(dict.fromkeys(ids))
        return None if elsewhere else found

    def find(self, ids: Collection[str]) -> list[Row]:
        """Return the rows of `ids` as last committed."""
        wanted = dict.fromkeys(ids)
        while True:
            look = self.look(wanted)
            found, elsewhere = look.found, look.elsewhere
            if look.is_single:
                concluded = self.conclude(look, self._table.first_from(elsewhere[0]))
                if concluded is not None:
                    return concluded
            rest = self._table.find(elsewhere) if elsewhere else []
            # If some were answered from memory and the rest from the table, both must show the same
            # moment. If the table was written meanwhile, the rest may show a later commit.
            if not rest or len(elsewhere) == len(wanted) or look.writes == self._table_writes:
                return found + rest

    def look(self, ids: Collection[str]) -> Look:
        """Return what memory tells of `ids`."""
        with self._lock:
            found, elsewhere = self._find_in_memory(dict.fromkeys(ids))
            is_single = len(elsewhere) == 1 and not self._has_descendants(elsewhere[0])
            return Look(ids, found, elsewhere, is_single, self._table_writes)

    def conclude(self, look: Look, first: str | None) -> list[Row] | None:
        """Return the rows of a look that left a single id, if the table lacks that; else None.

        Learn the id if its descendants are lacking too, and the gap up to `first`.

        Parameters
        ----------
        first
            The first id from that one on which the table had some time after the look.
        """
        [id_] = look.elsewhere
        if first is None or first >= beyond_descendants(id_):
            with self._lock:
                # Not if a descendant was inserted meanwhile, or is in the table already. Before
                # that there was none, because the look saw none in the memtables.
                if look.writes == self._table_writes and not self._has_descendants(id_):
                    self._absent.learn(id_)
                    inserted = self.active.new, self.sealed.new, self._passing
                    self._absent.learn_gap(Gap(id_, first), *inserted)
        # If it was sealed at the look and has been written to the table since, it was found.
        return None if first == id_ else look.found

    def _find_in_memory(self, ids: Iterable[str]) -> tuple[list[Row], list[str]]:
        """Return the rows that memory has, and the ids that the table may have."""
        found: list[Row] = []
        elsewhere: list[str] = []
        active, sealed = self.active.rows, self.sealed.rows
        purged, purged_before = self.active.purged, self.sealed.purged
        for id_ in ids:
            row = active.get(id_)
            if row is None and id_ not in purged:
                row = sealed.get(id_)
                if row is None and id_ not in purged_before:
                    elsewhere.append(id_)
            if row is not None:
                found.append(row)
        return found, self._absent.possible(elsewhere)

    def _has_descendants(self, id_: str) -> bool:
        """Return whether a memtable inserts a descendant of `id_`."""
        return id_ in self.active.ancestors or id_ in self.sealed.ancestors

    def lag_s(self, now: float) -> float:
        """Return the age of the oldest commit that the table has not, by the clock of `since`."""
        waiting = self.sealed or self.active
        return now - waiting.since if waiting else 0.0

    # ---- what has changed -----------------------------------------------------------------------

    def add(self, changes: Changes) -> None:
        """Show a commit that is in the log now."""
        with self._lock:
            self.active.add(changes)
            self._note_inserts(changes, self.active)

    def seal(self) -> None:
        """Take the active memtable for the sealed one, which is written."""
        with self._lock:
            self.sealed, self.active = self.active, Memtable()

    def writing(self) -> None:
        """Note that a write to the table begins."""
        self._table_writes += 1

    def written(self) -> None:
        """Forget the sealed memtable, which the table has."""
        with self._lock:
            self.sealed = Memtable()
            self._passing = set()

    def passing_by(self, changes: Changes) -> Memtable:
        """Return the memtable of a commit that goes straight to the table, which has all others."""
        with self._lock:
            self._note_inserts(changes, self.sealed)
            self._passing = {row.promise.id for row in (*changes.inserted, *changes.replaced)}
        return memtable_of(changes)

    def forget(self, slots: Collection[int]) -> None:
        """Know nothing of `slots`, which come from others or go to them."""
        with self._lock:
            # A find that has looked at the table before this learns nothing from it.
            self._table_writes += 1
            self._absent.forget(frozenset(slots))

    def _note_inserts(self, changes: Changes, memtable: Memtable) -> None:
        """Keep the absent ids true; `memtable` holds the rows until the table has them."""
        ids = [row.promise.id for row in (*changes.inserted, *changes.replaced)]
        memtable.ancestors |= self._absent.inserted(ids)
