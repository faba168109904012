"""Promises on the disk: a journal that is quick to write, and SQLite's file behind it.

A commit is durable once it is in the journal. A thread of its own brings what the journal holds
into the file, many commits at once, so the file lags by about a second; until then a find looks
here first. What needs the file as it is now, a search or a preload, has it brought up to date
first. A commit that is too large for the journal is written to the file at once.

What a process left in the journal when it died is brought into the file when the store is opened.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Final

from msgspec import MsgspecError
from msgspec.structs import replace

from understudy_store.changes import Changes, Snapshot
from understudy_store.commands import Reply
from understudy_store.engines.base import Read, check_epoch
from understudy_store.engines.sqlite import journal
from understudy_store.engines.sqlite.absent_ids import AbsentIds, beyond_descendants
from understudy_store.engines.sqlite.database import Database, explained
from understudy_store.engines.sqlite.files import FileLock, FilesInPlace, check_ours, make_directory
from understudy_store.engines.sqlite.journal import Journal
from understudy_store.engines.sqlite.journal_records import decode, encode
from understudy_store.engines.sqlite.memtable import Memtable, joined
from understudy_store.errors import StoreClosedError, StoreError, StoreFormatError
from understudy_store.records import Row

#: UPDATE ... FROM
_SQLITE_VERSION_MIN = (3, 33)
#: how often it is looked whether the files are where they were
LOOK_S: Final = 1.0
#: how much later than the journal the file has a commit, if nothing asks for it sooner
LAG_S: Final = 1.0
#: promises that are brought into the file without waiting for that
LAG_ROWS: Final = 16_384
#: Up to so many are brought in a few at a time, with pauses: where little is done, what is done is
#: likely to be waited for, and all of them at once would hold it up for as long as they take.
GENTLE_ROWS: Final = 2_048
PAUSE_S: Final = 0.002


class SqliteEngine:
    """The engine over one file and its journal.

    Parameters
    ----------
    path
        Made, with its directory, where there is none.

    Raises
    ------
    StoreLockedError, StoreFormatError, StoreVersionError, StoreAccessError
        See their texts; what was found is left as it is.
    """

    def __init__(self, path: Path) -> None:
        if sqlite3.sqlite_version_info < _SQLITE_VERSION_MIN:
            raise StoreError(
                f"this Python has SQLite {sqlite3.sqlite_version}; a store needs "
                f"{'.'.join(map(str, _SQLITE_VERSION_MIN))} or newer: use a newer Python"
            )
        with explained(path):
            self._path = path = path.expanduser().resolve()
            exists = check_ours(path)
            if not exists:
                make_directory(path.parent)
            self._lock = FileLock(path)
        try:
            self._database = Database(path, exists)
            try:
                self._open()
            except BaseException:
                self._database.close()
                raise
        except BaseException:
            self._lock.release()
            raise

    def _open(self) -> None:
        path = Path(f"{self._path}.journal")
        database = self._database
        with explained(path):
            left = journal.recover(path, database.store, database.number)
            _bring_in(left, database, path)
            self._journal = Journal(path, database.store, database.number)
        beside = [
            self._path.with_name(self._path.name + more) for more in ("-wal", "-shm", ".lock")
        ]
        self._files = FilesInPlace([self._path, path, *beside])
        self._look_at = time.monotonic() + LOOK_S
        self._closed = False
        self._failure: StoreError | None = None
        #: what is in the half of the journal that is written, and in the other one
        self._active = Memtable()
        self._sealed = Memtable()
        self._frontier = AbsentIds()
        #: writes to the file that have begun
        self._writes = 0
        #: held while these change; a find sees no half of a commit
        self._view_lock = Lock()
        #: held by who appends to the journal or changes its half; taken before `_file_lock`
        self._append_lock = Lock()
        #: held by who writes to the file
        self._file_lock = Lock()
        #: somebody waits for that lock
        self._hurry = Event()
        self._some = Event()
        self._enough = Event()
        self._thread = Thread(target=self._follow, name="understudy-store-follower", daemon=True)
        self._thread.start()

    @property
    def description(self) -> str:
        return f"sqlite:///{self._path} (journal, wal, synchronous=full)"

    @property
    def inline(self) -> bool:
        return True

    @contextmanager
    def _file(self) -> Iterator[None]:
        """Hold `_file_lock`; who has it makes haste."""
        self._hurry.set()
        with self._file_lock:
            yield

    def load(self) -> Snapshot:
        with self._append_lock, self._file():
            self._write_all()
            return self._database.load()

    def find(self, ids: Collection[str]) -> list[Row]:
        self._check_open()
        wanted = dict.fromkeys(ids)
        while True:
            found: list[Row] = []
            elsewhere: list[str] = []
            with self._view_lock:
                writes = self._writes
                active, sealed = self._active.rows, self._sealed.rows
                for id_ in wanted:
                    row = active.get(id_) or sealed.get(id_)
                    if row is None:
                        elsewhere.append(id_)
                    else:
                        found.append(row)
                elsewhere = self._frontier.doubtful(elsewhere)
                alone = len(elsewhere) == 1 and not self._has_pending_below(elsewhere[0])
            # What was sealed above and is in the file by now would have been found above.
            if alone and self._is_new(elsewhere[0], writes):
                return found
            rest = self._database.find(elsewhere) if elsewhere else []
            # Some may have been answered above: found, or known to be new. If more was written
            # since, a commit after that may be in the rest.
            if not rest or len(elsewhere) == len(wanted) or writes == self._writes:
                return found + rest

    def _is_new(self, id_: str, writes: int) -> bool:
        """Whether the file does not have it; and if it has no descendant either, learn that."""
        first = self._database.first_from(id_)
        if first is None or first >= beyond_descendants(id_):
            with self._view_lock:
                # Unless one was inserted meanwhile, or even brought into the file. Before that
                # there was none: `find` saw that none was on its way.
                if writes == self._writes and not self._has_pending_below(id_):
                    self._frontier.learn(id_)
        return first != id_

    def _has_pending_below(self, id_: str) -> bool:
        return id_ in self._active.above or id_ in self._sealed.above

    def _note(self, changes: Changes, pending: Memtable) -> None:
        """Keep track of what `changes` insert, which `pending` holds until the file has it."""
        ids = [row.promise.id for row in changes.inserted]
        pending.above |= self._frontier.inserted(ids)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosedError(f"the store {self._path} is closed")

    def commit(self, changes: Changes, reads: Sequence[Read], epoch: int) -> list[Reply]:
        check_epoch(epoch)
        with self._append_lock:
            # the number of the journal's descriptor may be another file's by now
            self._check_open()
            if self._failure is not None:
                raise self._failure
            try:
                if changes:
                    self._commit(changes)
                if not reads:
                    return []
                with self._file():
                    self._write_all()
                    return self._database.answer(reads)
            except StoreError as error:
                self._failure = error
                raise
            except Exception as error:
                self._failure = _as_store_error(error)
                raise self._failure from error

    def _commit(self, changes: Changes) -> None:
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._files.check()
        data = encode(changes)
        self._active.check(changes)
        if len(data) > journal.most_bytes():
            with self._file():
                self._write_all()
                with self._view_lock:
                    self._note(changes, self._sealed)
                # It takes a number too: the journal is at it, and holds nothing that counts.
                self._journal.skip()
                self._write(joined(changes), self._journal.number)
                with self._view_lock:
                    self._sealed = Memtable()
            return
        if not self._journal.fits(data):
            with self._file():
                self._write_sealed()
                self._seal()
            self._enough.set()
        self._journal.append(data)
        with self._view_lock:
            self._active.add(changes)
            self._note(changes, self._active)
        if self._active.commits == 1:
            self._some.set()
        if len(self._active.rows) >= LAG_ROWS and not self._sealed:
            self._enough.set()

    def _follow(self) -> None:
        """On a thread of its own: bring into the file what the journal holds."""
        while True:
            self._some.wait()
            self._enough.wait(LAG_S)
            with self._append_lock:
                if self._closed:
                    return
                self._enough.clear()
                if self._active and not self._sealed:
                    self._seal()
                if not self._active:
                    self._some.clear()
                # who has the file to itself holds this lock too: whoever is in a hurry comes later
                self._hurry.clear()
            with self._file_lock:
                try:
                    self._write_gently()
                except Exception as error:
                    self._failure = _as_store_error(error)
                    return

    def _seal(self) -> None:
        """Let what was committed be brought in, and go on in the other half, which is free."""
        assert not self._sealed
        with self._view_lock:
            self._sealed, self._active = self._active, Memtable()
        self._journal.switch()
        self._sealed_number = self._journal.number

    def _write_gently(self) -> None:
        if len(self._sealed.rows) <= GENTLE_ROWS:
            self._database.pause = lambda: self._hurry.wait(PAUSE_S)
        try:
            self._write_sealed()
        finally:
            self._database.pause = None

    def _write_sealed(self) -> None:
        if self._sealed:
            self._write(self._sealed, self._sealed_number)
            with self._view_lock:
                self._sealed = Memtable()

    def _write(self, pending: Memtable, number: int) -> None:
        self._writes += 1
        self._database.write(pending, number)

    def _write_all(self) -> None:
        """Have all that is committed in the file."""
        self._write_sealed()
        if self._active:
            self._seal()
            self._write_sealed()

    def close(self) -> None:
        with self._append_lock:
            if self._closed:
                return
            self._closed = True
            self._some.set()
            self._enough.set()
        self._hurry.set()
        self._thread.join()
        with self._file_lock:
            # Where the disk no longer does that, the journal stays, and the next open reads it.
            with suppress(StoreError, OSError):
                self._write_all()
                if self._failure is None:
                    self._journal.path.unlink()
            self._journal.close()
            self._database.close()
            self._lock.release()


def _bring_in(left: Sequence[bytes], database: Database, path: Path) -> None:
    """What a process that died had committed goes into the file."""
    pending = Memtable()
    number = database.number
    try:
        for data in left:
            pending.add(_completed(decode(data), pending.rows))
            number += 1
        if pending:
            database.write(pending, number)
    except (MsgspecError, UnicodeDecodeError, StoreError) as error:
        raise StoreFormatError(
            f"what {path} holds does not follow what is in the store beside it: {error}. "
            "Restore both from a copy"
        ) from error


def _completed(changes: Changes, rows: Mapping[str, Row]) -> Changes:
    """Fill in what updates in the journal leave out, where it is not in the file yet."""
    return replace(changes, updated=[_over(row, rows) for row in changes.updated])


def _over(row: Row, rows: Mapping[str, Row]) -> Row:
    before = rows.get(row.promise.id)
    if before is None:
        return row
    new = row.promise
    promise = replace(before.promise, state=new.state, value=new.value, settled_at=new.settled_at)
    return Row(promise, row.task)


def _as_store_error(error: Exception) -> StoreError:
    if isinstance(error, StoreError):
        return error
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return StoreError(f"the journal: {error.strerror or error}{where}")
    return StoreError(f"{type(error).__name__}: {error}")
