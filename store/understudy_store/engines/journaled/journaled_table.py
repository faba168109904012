"""A table that lags behind its journal: commits are quick, and searches see all of them.

See the package for the theory of operation. Nothing here knows of files or of SQL: the journal is a
`Log`, the rows are in a `Table`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from typing import Final, Protocol, TypeVar

from understudy_store.changes import Changes, Snapshot
from understudy_store.commands import Reply
from understudy_store.engines.base import Read
from understudy_store.engines.journaled.journal_records import encode
from understudy_store.engines.journaled.memtable import Memtable
from understudy_store.engines.journaled.searcher import Searchable, Searcher
from understudy_store.engines.journaled.view import Findable, View
from understudy_store.errors import StoreClosedError, StoreError
from understudy_store.records import Row

T = TypeVar("T")

#: how much later than the journal the table has a commit, if nothing asks for it sooner
LAG_S: Final = 1.0
#: so many rows in the journal are written to the table without waiting for that
LAG_ROWS: Final = 16_384
#: Up to so many rows the follower writes in small chunks with pauses. Under low load a caller is
#: probably waiting, and one large write would delay it.
PAUSED_ROWS_MAX: Final = 2_048
PAUSE_S: Final = 0.002


class Log(Protocol):
    """A journal of two halves: one takes commits while the other is written to the table."""

    #: number of the last commit
    number: int

    @property
    def has_room(self) -> bool:
        """True if any record that the log takes has room in this half."""

    def takes(self, data: bytes) -> bool:
        """Return whether a record can hold `data` at all."""

    def fits(self, data: bytes) -> bool:
        """Return whether a record of `data` has room in this half."""

    def append(self, data: bytes) -> None:
        """Write a record with the next number, durable on return. It `fits`."""

    def skip(self) -> None:
        """Count a commit that goes straight to the table, which has all before it."""

    def switch(self) -> None:
        """Go on in the other half, and write over its content."""


class Table(Findable, Searchable, Protocol):
    """The rows themselves."""

    #: called after every few rows of a write, to let other threads go on; None: no pauses
    pause: Callable[[], object] | None

    def load(self) -> Snapshot:
        """Return all that a machine needs to go on."""

    def write(self, memtable: Memtable, number: int) -> None:
        """Write all of `memtable` or nothing, durable on return. Its last commit is `number`."""

    def answer(self, reads: Sequence[Read]) -> list[Reply]:
        """Answer `reads` from the table as it is now."""


class JournaledTable:
    """Commits go to `log`; a thread brings them to `table`; finds look at both.

    Parameters
    ----------
    name
        Of the store, for errors.
    before_commit
        Called before each commit that writes. It raises if a commit would not last.
    """

    def __init__(
        self, log: Log, table: Table, name: str, before_commit: Callable[[], None]
    ) -> None:
        self._log = log
        self._table = table
        self._name = name
        self._before_commit = before_commit
        self._closed = False
        #: the reason why nothing is committed any more; None: there is none
        self.failure: StoreError | None = None
        self._on_failure: Callable[[StoreError], None] = _ignore
        #: public for tests
        self.view = View(table)
        #: number of the last commit in the sealed one
        self._sealed_number = log.number
        #: held to append to the log or to switch its half; taken before `_table_lock`
        self._append_lock = Lock()
        #: held to write to the table, and to answer from it
        self._table_lock = Lock()
        #: set while somebody waits for the table lock: the follower then makes no pauses
        self._table_wanted = Event()
        #: set while the active memtable has commits
        self._has_commits = Event()
        #: set to have them written to the table at once
        self._flush_now = Event()
        #: makes searches
        self.searcher = Searcher(table, self._flush_now)
        self._thread = Thread(target=self._follow, name="understudy-store-follower", daemon=True)
        self._thread.start()

    def load(self) -> Snapshot:
        """Return all that a machine needs to go on."""
        with self._append_lock, self.between_writes():
            self._write_memtables()
            return self._table.load()

    @property
    def commits_at_once(self) -> bool:
        """True if a small commit waits for nothing but the log.

        Otherwise it may have to wait for the table to free the other half, and the table may be
        waiting for a lock of another program.
        """
        return not self.view.sealed or self._log.has_room

    @property
    def rows_in_log(self) -> int:
        """The number of rows that the log has and the table has not."""
        return self.view.active.size + self.view.sealed.size

    def watch(self, on_failure: Callable[[StoreError], None]) -> None:
        """Call `on_failure`, on the follower's thread, if the follower fails, or has failed."""
        self._on_failure = on_failure
        if self.failure is not None:
            on_failure(self.failure)

    # ---- finding --------------------------------------------------------------------------------

    def find(self, ids: Collection[str]) -> list[Row]:
        """Return the rows of `ids` as last committed."""
        self._check_open()
        return self.view.find(ids)

    # ---- committing -----------------------------------------------------------------------------

    def commit(self, changes: Changes, reads: Sequence[Read]) -> list[Reply]:
        """Keep `changes`, durable on return; then answer `reads`."""
        with self._append_lock:
            # The log's file descriptor may be another file's by now.
            self._check_open()
            if self.failure is not None:
                raise self.failure
            with self._noting_failure():
                if changes:
                    self._commit(changes)
                if not reads:
                    return []
                with self.between_writes():
                    self._write_memtables()
                    return self._table.answer(reads)

    def begin(self, changes: Changes, send: Callable[[bytes], int | None]) -> int | None:
        """Begin a commit without waiting for anything. Until `ending`, nothing else is committed.

        Parameters
        ----------
        send
            Begins to append a record to the log; returns None if that takes a wait.

        Returns
        -------
        What `send` has returned. None: nothing was begun; `commit` may have to wait, or tells what
        is wrong.
        """
        if not self._append_lock.acquire(blocking=False):
            return None
        begun = None
        try:
            if not self._closed and self.failure is None:
                data = self._record(changes)
                begun = send(data) if self._log.fits(data) else None
        except Exception:
            begun = None  # `commit` meets it again, and tells
        finally:
            if begun is None:
                self._append_lock.release()
        return begun

    @contextmanager
    def ending(self, changes: Changes) -> Iterator[None]:
        """End a commit that was begun: the log has its record, or the body sees to that."""
        try:
            with self._noting_failure():
                yield
                self._add(changes)
        finally:
            self._append_lock.release()

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        """After an error nothing is committed any more."""
        try:
            yield
        except Exception as error:
            self.failure = _as_store_error(error)
            self.searcher.end(self.failure)
            if self.failure is error:
                raise
            raise self.failure from error

    def give_away(self, slots: Collection[int], give: Callable[[], T]) -> T:
        """Write every commit to the table, then call `give`, which gives `slots` to others.

        Nothing is committed meanwhile. Nothing about the slots is known here any more after that.
        """
        with self._append_lock:
            self._check_open()
            if self.failure is not None:
                raise self.failure
            with self._noting_failure():
                with self.between_writes():
                    self._write_memtables()
                given = give()
        self.forget(slots)
        return given

    def forget(self, slots: Collection[int]) -> None:
        """Know nothing of `slots`, which come from others or go to them."""
        self.view.forget(slots)

    def _record(self, changes: Changes) -> bytes:
        """Return the record of a commit, which nothing speaks against."""
        self._before_commit()
        data = encode(changes)
        self.view.active.check(changes)
        return data

    def _commit(self, changes: Changes) -> None:
        data = self._record(changes)
        if not self._log.fits(data):
            if not self._log.takes(data):
                self._commit_to_table(changes)
                return
            with self.between_writes():
                self._write_sealed()
                self._seal()
            self._flush_now.set()
        self._log.append(data)
        self._add(changes)

    def _add(self, changes: Changes) -> None:
        """Have finds see a commit that the log has, and the follower write it."""
        self.view.add(changes)
        self.searcher.added()
        if self.view.active.commits == 1:
            self.view.active.since = time.monotonic()
            self._has_commits.set()
        if self.view.active.size >= LAG_ROWS and not self.view.sealed:
            self._flush_now.set()

    def _commit_to_table(self, changes: Changes) -> None:
        """Write a commit that is too large for the log straight to the table, after all others."""
        with self.between_writes():
            self._write_memtables()
            memtable = self.view.passing_by(changes)
            # It has a number too, and the log is empty but for records that no longer count.
            self._log.skip()
            self.view.writing()
            self._table.write(memtable, self._log.number)
            self.view.written()
            self.searcher.added()
            self.searcher.sealed()
            self.searcher.written()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError(f"the store {self._name} is closed")

    # ---- writing to the table -------------------------------------------------------------------

    def _follow(self) -> None:
        """Write the log's commits to the table, about `LAG_S` later; on a thread of its own."""
        try:
            while self._follow_once():
                pass
        except Exception as error:
            self.failure = _as_store_error(error)
            self.searcher.end(self.failure)
            self._on_failure(self.failure)

    def _follow_once(self) -> bool:
        """Wait for commits, and write them to the table; return False at the end."""
        self._has_commits.wait()
        self._flush_now.wait(LAG_S)
        with self._append_lock:
            if self._closed:
                return False
            self._flush_now.clear()
            if self.view.active and not self.view.sealed:
                self._seal()
            if not self.view.active:
                self._has_commits.clear()
            # Everybody who asks for the table holds the append lock too, so nobody has asked
            # yet. From here on, whoever does ends the pauses.
            self._table_wanted.clear()
        with self._table_lock:
            self._write_sealed_with_pauses()
        return True

    @contextmanager
    def between_writes(self) -> Iterator[None]:
        """Hold the table, to which nobody else writes meanwhile; a follower at it makes haste."""
        self._table_wanted.set()
        with self._table_lock:
            yield

    def _seal(self) -> None:
        """Have the commits so far written to the table, and go on in the other half of the log.

        That half is free, because nothing is sealed: the table has all that it held.
        """
        assert not self.view.sealed
        self.view.seal()
        self._log.switch()
        self._sealed_number = self._log.number
        self.searcher.sealed()

    def _write_sealed_with_pauses(self) -> None:
        if self.view.sealed.size <= PAUSED_ROWS_MAX:
            self._table.pause = lambda: self._table_wanted.wait(PAUSE_S)
        try:
            self._write_sealed()
        finally:
            self._table.pause = None

    def _write_sealed(self) -> None:
        if self.view.sealed:
            self.view.writing()
            self._table.write(self.view.sealed, self._sealed_number)
            self.view.written()
            self.searcher.written()

    def _write_memtables(self) -> None:
        """Write everything that is committed to the table."""
        self._write_sealed()
        if self.view.active:
            self._seal()
            self._write_sealed()

    def close(self) -> bool:
        """End the follower and write everything to the table.

        Returns
        -------
        True if the table has every commit that was acknowledged. False if it could not be written.
        """
        with self._append_lock:
            self._closed = True
            self.searcher.end(StoreClosedError(f"the store {self._name} is closed"))
            self._has_commits.set()
            self._flush_now.set()
        self._table_wanted.set()
        self._thread.join()
        # Whatever it was that failed: what is not in the table is in the log.
        with self._table_lock, suppress(Exception):
            self._write_memtables()
            return True
        return False


def _ignore(_: StoreError) -> None:
    """Do nothing."""


def _as_store_error(error: Exception) -> StoreError:
    if isinstance(error, StoreError):
        return error
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return StoreError(f"the journal: {error.strerror or error}{where}")
    return StoreError(f"{type(error).__name__}: {error}")
