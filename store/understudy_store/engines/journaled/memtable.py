"""The memtable: consecutive commits merged into one, until the table has them.

Most rows are written again soon: a promise is created, handed out and settled within milliseconds.
Only the last state of each is kept here, so the table sees one row instead of three. No I/O, no
clock.
"""

from __future__ import annotations

from collections.abc import Iterable

from understudy_store.changes import Changes
from understudy_store.errors import StoreError
from understudy_store.records import AttemptRecord, Row, ScheduleRecord, forgotten_attempt


class Links:
    """Pairs of an awaited id and another text: callbacks, or listeners."""

    def __init__(self) -> None:
        #: awaited ids whose pairs are to be deleted from the table, before others are added
        self.removed: dict[str, None] = {}
        self._added: dict[str, dict[str, None]] = {}

    def add(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Add pairs; adding one twice is adding it once."""
        for awaited, other in pairs:
            self._added.setdefault(awaited, {})[other] = None

    def remove(self, ids: Iterable[str], new: set[str]) -> None:
        """Remove all pairs of `ids`; of the `new` ones the table has none."""
        for awaited in ids:
            self._added.pop(awaited, None)
            if awaited not in new:
                self.removed[awaited] = None

    @property
    def added(self) -> list[tuple[str, str]]:
        """The pairs to add, after the removals."""
        return [(awaited, other) for awaited, others in self._added.items() for other in others]


class Memtable:
    """The sum of the commits that were added; false if there are none."""

    def __init__(self) -> None:
        self.commits = 0
        #: when the first of them came, seconds of a clock that is never set
        self.since = 0.0
        #: greatest `now` of them, epoch milliseconds
        self.now = 0
        #: last state of each promise, by id
        self.rows: dict[str, Row] = {}
        #: ids of rows that the table does not have
        self.new: set[str] = set()
        #: ids to be deleted from the table before anything is inserted
        self.purged: set[str] = set()
        #: ids with descendants among the inserted ones, as far as `AbsentIds` may learn them
        self.ancestors: set[str] = set()
        self.callbacks = Links()
        self.listeners = Links()
        #: (promise id, address), and True if the unblock is owed, False if it no longer is
        self.unblocks: dict[tuple[str, str], bool] = {}
        #: by id; None if it is deleted
        self.schedules: dict[str, ScheduleRecord | None] = {}
        #: attempts for the log, by id and number; None if it leaves the log
        self.attempts: dict[tuple[str, int], AttemptRecord | None] = {}

    def __bool__(self) -> bool:
        return self.commits > 0

    @property
    def size(self) -> int:
        """The number of rows that the table is to change."""
        return len(self.rows) + len(self.purged)

    def check(self, changes: Changes) -> None:
        """Refuse a commit that cannot come next, before it is kept.

        Raises
        ------
        StoreError
            It inserts a row that is here already. Only the table knows which rows it has.
        """
        inserted = {row.promise.id for row in changes.inserted}
        known = inserted & self.rows.keys()
        if known or len(inserted) < len(changes.inserted):
            raise StoreError(f"an inserted promise exists: {sorted(known)[:3]}")

    def add(self, changes: Changes) -> None:
        """Merge a commit, which comes after all before."""
        self.commits += 1
        self.now = max(self.now, changes.now)
        rows, new = self.rows, self.new
        if changes.purged:
            self._purge(changes)
        for row in changes.inserted:
            id_ = row.promise.id
            rows[id_] = row
            new.add(id_)
        for row in changes.updated:
            rows[row.promise.id] = row
        self.callbacks.add(changes.callbacks_added)
        self.listeners.add(changes.listeners_added)
        self.unblocks.update(dict.fromkeys(changes.unblocks_added, True))
        self.schedules.update((schedule.id, schedule) for schedule in changes.schedules_put)
        self.callbacks.remove(changes.callbacks_removed, new)
        self.listeners.remove(changes.listeners_removed, new)
        self.unblocks.update(dict.fromkeys(changes.unblocks_removed, False))
        self.schedules.update(dict.fromkeys(changes.schedules_deleted))
        for attempt in changes.attempts:
            id_, n = attempt.id, attempt.n
            self.attempts[id_, n] = attempt
            forgotten = forgotten_attempt(n)
            # One that this memtable has brought itself, the table has not.
            if forgotten is not None and self.attempts.pop((id_, forgotten), None) is None:
                self.attempts[id_, forgotten] = None

    def _purge(self, changes: Changes) -> None:
        rows, new, purged = self.rows, self.new, self.purged
        for id_ in changes.purged:
            rows.pop(id_, None)
            new.discard(id_)
            purged.add(id_)
        if self.attempts:
            gone = frozenset(changes.purged)
            self.attempts = {key: each for key, each in self.attempts.items() if key[0] not in gone}
        for row in changes.replaced:
            rows[row.promise.id] = row
            new.add(row.promise.id)

    def split(self) -> tuple[list[Row], list[Row]]:
        """Return the rows to insert, and those to update."""
        inserted: list[Row] = []
        updated: list[Row] = []
        for id_, row in self.rows.items():
            (inserted if id_ in self.new else updated).append(row)
        return inserted, updated


def memtable_of(changes: Changes) -> Memtable:
    """Return a memtable of one commit."""
    memtable = Memtable()
    memtable.add(changes)
    return memtable
