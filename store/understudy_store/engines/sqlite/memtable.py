"""Commits in a row as one: what the journal has and the file does not have yet.

Most of what is written is written again soon: a promise is made, handed out and settled within
milliseconds. Here only the last state of each is kept, so the file sees one row where there were
three. No I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable

from understudy_store.changes import Changes
from understudy_store.errors import StoreError
from understudy_store.records import Row, ScheduleRecord


class Links:
    """Pairs of an awaited id and another: callbacks, or listeners."""

    def __init__(self) -> None:
        #: awaited ids whose pairs in the file are to go, before what is added
        self.removed: dict[str, None] = {}
        self._added: dict[str, dict[str, None]] = {}

    def add(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Add them; twice is once."""
        for awaited, other in pairs:
            self._added.setdefault(awaited, {})[other] = None

    def remove(self, ids: Iterable[str], fresh: set[str]) -> None:
        """Remove all pairs of `ids`; of `fresh` ids the file has none."""
        for awaited in ids:
            self._added.pop(awaited, None)
            if awaited not in fresh:
                self.removed[awaited] = None

    @property
    def added(self) -> list[tuple[str, str]]:
        """What is to be added, after the removals."""
        return [(awaited, other) for awaited, others in self._added.items() for other in others]


class Memtable:
    """The sum of the commits that were added; false if there were none."""

    def __init__(self) -> None:
        self.commits = 0
        #: greatest `now` of them, epoch milliseconds
        self.now = 0
        #: last state of each promise, by id
        self.rows: dict[str, Row] = {}
        #: ids that the file does not know
        self.fresh: set[str] = set()
        #: what has descendants among those that were inserted, as far as the frontier may learn it
        self.above: set[str] = set()
        self.callbacks = Links()
        self.listeners = Links()
        #: (promise id, address) -> whether it is owed
        self.unblocks: dict[tuple[str, str], bool] = {}
        #: by id; None for one that is deleted
        self.schedules: dict[str, ScheduleRecord | None] = {}

    def __bool__(self) -> bool:
        return self.commits > 0

    def check(self, changes: Changes) -> None:
        """Refuse what cannot come next, before it is kept.

        Raises
        ------
        StoreError
            It inserts what is here already. What the file has already, only the file knows.
        """
        inserted = {row.promise.id for row in changes.inserted}
        known = inserted & self.rows.keys()
        if known or len(inserted) < len(changes.inserted):
            raise StoreError(f"an inserted promise exists: {sorted(known)[:3]}")

    def add(self, changes: Changes) -> None:
        """One more commit, after all before."""
        self.commits += 1
        self.now = max(self.now, changes.now)
        rows, fresh = self.rows, self.fresh
        for row in changes.inserted:
            id_ = row.promise.id
            rows[id_] = row
            fresh.add(id_)
        for row in changes.updated:
            rows[row.promise.id] = row
        self.callbacks.add(changes.callbacks_added)
        self.listeners.add(changes.listeners_added)
        self.unblocks.update(dict.fromkeys(changes.unblocks_added, True))
        self.schedules.update((schedule.id, schedule) for schedule in changes.schedules_put)
        self.callbacks.remove(changes.callbacks_removed, fresh)
        self.listeners.remove(changes.listeners_removed, fresh)
        self.unblocks.update(dict.fromkeys(changes.unblocks_removed, False))
        self.schedules.update(dict.fromkeys(changes.schedules_deleted))

    def split(self) -> tuple[list[Row], list[Row]]:
        """The rows to insert, and those to update."""
        inserted: list[Row] = []
        updated: list[Row] = []
        for id_, row in self.rows.items():
            (inserted if id_ in self.fresh else updated).append(row)
        return inserted, updated


def joined(changes: Changes) -> Memtable:
    """One commit alone."""
    pending = Memtable()
    pending.add(changes)
    return pending
