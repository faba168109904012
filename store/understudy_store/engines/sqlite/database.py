"""The table of a SQLite store: its file, through three connections.

One connection writes, another one finds beside it, and the third searches, from the first search
on (`searcher.py`). WAL with ``synchronous=FULL``: a write is on the disk when `Database.write`
returns. Only the writer checkpoints.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeVar

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    NullPool,
    create_engine,
    event,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import SQLAlchemyError

from understudy_store.changes import Snapshot
from understudy_store.commands import Reply
from understudy_store.engines.base import OPENING, Opening, Read
from understudy_store.engines.journaled.memtable import Memtable
from understudy_store.engines.searches import Rereading
from understudy_store.engines.sql import migrations
from understudy_store.engines.sql.answers import answer, asking
from understudy_store.engines.sql.queries import Queries
from understudy_store.engines.sql.rows import (
    attempt_values,
    insert_values,
    row_of,
    schedule_of,
    schedule_values,
    slotted,
    task_values,
    update_values,
)
from understudy_store.engines.sql.statements import (
    CHUNK_ROWS,
    Statements,
    promise_columns,
    schedule_columns,
)
from understudy_store.engines.sql.tables import (
    APPLICATION_ID,
    Meta,
    Promise,
    Schedule,
    Unblock,
    table,
)
from understudy_store.engines.sqlite.files import access_error, sync_directory
from understudy_store.engines.sqlite.lock_wait import LockWait
from understudy_store.engines.sqlite.searcher import FileSearcher
from understudy_store.errors import (
    StoreAccessError,
    StoreClosedError,
    StoreError,
    StoreFormatError,
    StoreVersionError,
)
from understudy_store.pending_row import pending_row
from understudy_store.records import Row

T = TypeVar("T")

#: Page size of new files. It is twice SQLite's own: batches write a quarter faster, because their
#: rows are on half as many QUERIES.
PAGE_BYTES = 8192
#: SQLite's log grows to this size between checkpoints, and by one commit beyond: small enough to
#: stay in the cache.
LOG_BYTES = 4 * 1024 * 1024
#: How long SQLite itself waits for a lock of another program; `LockWait` then goes on waiting.
BUSY_S: Final = 1.0
#: the same for finds, which no lock of a writer delays
FINDER_BUSY_S: Final = 5.0
#: Rows that are encoded at once. Meanwhile no other thread has the interpreter.
_CHUNK_ROWS = 256
#: the same for a write with pauses, which is not to hold up other threads
_PAUSED_CHUNK_ROWS = 64
#: Free pages that are kept for new rows, at least so many, and such a part of the file; and how
#: many of the others one write with a purge gives back to the disk.
FREE_PAGES_KEPT: Final = 256
FREE_PART_KEPT: Final = 8
FREED_PAGES: Final = 256
_WRITER_PRAGMAS = (
    "PRAGMA synchronous=FULL",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA cache_size=-16384",
)
_READER_PRAGMAS = ("PRAGMA query_only=ON",)

STATEMENTS: Final = Statements(sqlite.dialect())
QUERIES: Final = Queries(sqlite.dialect())
_promise = table(Promise)
_meta = table(Meta)


def _connect(path: Path, pragmas: Sequence[str], begin: str | None, timeout_s: float) -> Engine:
    """Return an engine of one connection.

    Transactions begin with `begin`; with None each statement is a transaction of its own.
    """
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=NullPool,
        connect_args={"check_same_thread": False, "timeout": timeout_s},
    )

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        # Otherwise the driver would begin transactions by itself, but not before a SELECT.
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(pragma)

    if begin is not None:

        @event.listens_for(engine, "begin")
        def on_begin(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

    return engine


def connect_reader(path: Path) -> Connection:
    """Connect to the file of a store to read it, beside whoever has it open."""
    return _connect(path, _READER_PRAGMAS, "BEGIN", FINDER_BUSY_S).connect()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise errors of opening a store as those of `understudy_store.errors`."""
    try:
        yield
    except OSError as error:
        raise access_error(path, error) from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        cause = getattr(error, "orig", None) or error
        if isinstance(cause, sqlite3.OperationalError):
            raise StoreAccessError(
                f"cannot open the store {path}: {cause}. Check the disk and the rights to write "
                "the file and its directory"
            ) from cause
        raise StoreFormatError(
            f"the store {path} is damaged: {cause}. Restore it from a copy, "
            "or move it away together with its -wal and .journal files to begin anew"
        ) from cause


class Database:
    """The file at `path` with the latest schema; made unless it `exists`.

    Another program's lock is waited for as `opening` wishes, until `opened` is called.

    `find`, `first_from` and `search` may be called from several threads, beside the other methods.
    Those are called from one thread at a time (the engine holds its file lock).

    Raises
    ------
    StoreFormatError, StoreVersionError, StoreAccessError
        See their texts; the files are left as they were found. All methods raise `StoreError`.
    """

    def __init__(self, path: Path, exists: bool, opening: Opening = OPENING) -> None:
        self._path = path
        self._lock_wait = LockWait(path, opening.tell, opening.is_unwanted)
        #: called after every few rows of a write, to let other threads go on; None: no pauses
        self.pause: Callable[[], object] | None = None
        self._find_lock = Lock()
        self._searcher = FileSearcher(path, QUERIES, self._connect_searcher)
        self._closed = False
        self._connections: list[Connection] = []
        try:
            with explained(path):
                self._open(exists)
        except BaseException:
            self.close()
            raise

    def _open(self, exists: bool) -> None:
        if exists:
            with self._path.open("r+b"):
                pass  # SQLite itself would fall back to reading only
        writing = _connect(self._path, _WRITER_PRAGMAS, "BEGIN IMMEDIATE", BUSY_S)
        with _connect(self._path, (), None, BUSY_S).connect() as connection:
            self._lock_wait.until_free(lambda: _prepare(connection, self._path))
        self._writer = writing.connect()
        self._connections.append(self._writer)
        meta = self._lock_wait.until_free(self._migrate)
        #: identity of the store, which its journal repeats
        self.store = bytes.fromhex(meta["store"])
        #: number of the last commit that is in the file
        self.number = int(meta["commit"])
        #: mark of the journal that may have later commits; empty: none has
        self.mark = bytes.fromhex(meta["journal"])
        self._now = int(meta["now"])
        self._driver = _driver_of(self._writer)
        # Checkpoints are counted in pages, and those of an older file are smaller.
        [page_bytes] = self._driver.execute("PRAGMA page_size").fetchone()
        self._driver.execute(f"PRAGMA wal_autocheckpoint={LOG_BYTES // page_bytes}")
        if not exists:
            sync_directory(self._path.parent)
        self._finder = _connect(self._path, _READER_PRAGMAS, None, FINDER_BUSY_S).connect()
        self._connections.append(self._finder)
        self._finder_driver = _driver_of(self._finder)

    def _connect_searcher(self) -> Connection:
        return connect_reader(self._path)

    def _migrate(self) -> dict[str, str]:
        """Bring the schema up to date, and return the facts about the store."""
        with self._writer.begin():
            self._bring_up_to_date()
            found = self._writer.execute(select(_meta.c.key, _meta.c.value))
            return {row.key: row.value for row in found}

    def _bring_up_to_date(self) -> None:
        names = "SELECT name FROM sqlite_master WHERE name = ?"
        found = None
        if self._writer.exec_driver_sql(names, (migrations.VERSION_TABLE,)).first():
            found = self._writer.exec_driver_sql(
                f"SELECT version_num FROM {migrations.VERSION_TABLE}"
            ).scalar()
        if found == migrations.HEAD:
            return
        if found is None:
            facts = {"now": "0", "store": secrets.token_hex(8), "commit": "0", "journal": ""}
            migrations.create(self._writer, facts)
            return
        if found not in migrations.REVISIONS:
            raise StoreVersionError(
                f"the store {self._path} has schema {found}; this understudy knows schemas up to "
                f"{migrations.HEAD}. A newer one made it: upgrade understudy, or name another path"
            )
        migrations.upgrade(self._writer)

    def load(self) -> Snapshot:
        """Return all that a machine needs; long parts are read while they are iterated over."""
        with explained(self._path), self._find_lock:
            owed = self._finder.execute(
                select(*promise_columns, table(Unblock).c.address).join_from(
                    table(Unblock), _promise, table(Unblock).c.promise_id == _promise.c.id
                )
            )
            unblocks = [(row_of(row[:-1]).promise, row[-1]) for row in owed]
            return Snapshot(
                now=self._now,
                live=Rereading(lambda: self._rows_of(QUERIES.pending, pending_row)),
                callbacks=Rereading(lambda: self._rows_of(QUERIES.callbacks, _pair)),
                listeners=Rereading(lambda: self._rows_of(QUERIES.listeners, _pair)),
                unblocks=unblocks,
                schedules=[
                    schedule_of(row)
                    for row in self._finder.execute(
                        select(*schedule_columns).select_from(table(Schedule))
                    )
                ],
            )

    def _rows_of(self, text: str, make: Callable[[Sequence[Any]], T]) -> Iterator[T]:
        with explained(self._path):
            yield from map(make, self._finder_driver.execute(text))

    def find(self, ids: Collection[str]) -> list[Row]:
        """Return the rows of `ids`, each named once, beside whatever another thread does."""
        with self._find_lock:
            if self._closed:
                raise StoreClosedError(f"the store {self._path} is closed")
            driver = self._finder_driver
            keys = [(id_,) for id_ in ids]
            try:
                if len(keys) == 1:
                    found = driver.execute(STATEMENTS.find_promise, keys[0])
                    return [row_of(row) for row in found.fetchall()]
                if len(keys) <= CHUNK_ROWS:
                    return self._find(keys)
                # Within one transaction, several statements see the file as of one moment.
                driver.execute("BEGIN")
                try:
                    return self._find(keys)
                finally:
                    driver.execute("COMMIT")
            except sqlite3.Error as error:
                raise _plain(error) from None

    def first_from(self, id_: str) -> str | None:
        """Return the first id in the file from `id_` on, in the order of bytes; None if none is."""
        with self._find_lock:
            if self._closed:
                raise StoreClosedError(f"the store {self._path} is closed")
            try:
                [(first,)] = self._finder_driver.execute(STATEMENTS.first_id, (id_,)).fetchall()
            except sqlite3.Error as error:
                raise _plain(error) from None
            return None if first is None else str(first)

    def _find(self, keys: Sequence[tuple[str]]) -> list[Row]:
        return [
            row_of(row)
            for result in STATEMENTS.find_promises.results(self._finder_driver, keys)
            for row in result.fetchall()
        ]

    def write(self, memtable: Memtable, number: int) -> None:
        """Write all of `memtable` or nothing, durable on return. Its last commit is `number`."""
        with self.transaction():
            self._write(memtable)
            self._set("commit", number)
            if memtable.now > self._now:
                self._set("now", memtable.now)
        self.number = number
        self._now = max(self._now, memtable.now)
        if memtable.purged:
            self._give_back()

    def _give_back(self) -> None:
        """Give some free pages back to the disk, if there are many; later rows use the others."""
        driver = self._driver
        with suppress(sqlite3.Error):  # They stay free, and the next purge tries again.
            [free] = driver.execute("PRAGMA freelist_count").fetchone()
            [pages] = driver.execute("PRAGMA page_count").fetchone()
            if free > max(FREE_PAGES_KEPT, pages // FREE_PART_KEPT):
                # As a script, because each step of the statement frees a single page.
                driver.executescript(f"PRAGMA incremental_vacuum({FREED_PAGES})")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection that writes; all that the block does is kept, or nothing of it.

        It is durable when the block is over.
        """
        driver = self._driver
        try:
            self._lock_wait.until_free(lambda: driver.execute("BEGIN IMMEDIATE"))
            try:
                yield driver
                driver.execute("COMMIT")
            except BaseException:
                # After some errors, a full disk among them, SQLite has rolled back by itself.
                if driver.in_transaction:
                    with suppress(sqlite3.Error):
                        driver.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise _plain(error) from None

    @contextmanager
    def attached(self, other: Path, name: str) -> Iterator[None]:
        """Let transactions in the block see another file, as the schema `name`."""
        try:
            self._driver.execute(f"ATTACH DATABASE ? AS {name}", (str(other),))
        except sqlite3.Error as error:
            raise _plain(error) from None
        try:
            yield
        finally:
            with suppress(sqlite3.Error):
                self._driver.execute(f"DETACH DATABASE {name}")

    def name_journal(self, mark: bytes) -> None:
        """Name the journal that has later commits from now on; with no mark: none has.

        The name is put into the file itself, not only into SQLite's log beside it. So also a copy
        of the file alone shows that it may lack commits.
        """
        try:
            # Somebody who removed the lock's file may have opened the store, and named another.
            statement = "UPDATE meta SET value = ? WHERE key = 'journal' AND value = ?"
            values = mark.hex(), self.mark.hex()
            self._lock_wait.until_free(lambda: self._driver.execute(statement, values))
            if mark:
                self._driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            raise _plain(error) from None
        self.mark = mark

    def _set(self, key: str, value: int) -> None:
        self._driver.execute("UPDATE meta SET value = ? WHERE key = ?", (str(value), key))

    def _write(self, memtable: Memtable) -> None:
        driver = self._driver
        if memtable.purged:
            for keys in self._chunks([(id_,) for id_ in memtable.purged]):
                STATEMENTS.purge_promises.run(driver, keys)
                STATEMENTS.purge_attempts.run(driver, keys)
        inserted, updated = memtable.split()
        for chunk in self._chunks(inserted):
            STATEMENTS.insert_promises.run(driver, insert_values(chunk))
        for chunk in self._chunks(updated):
            self._update(chunk)
        for links, remove, add in (
            (memtable.callbacks, STATEMENTS.remove_callbacks, STATEMENTS.add_callbacks),
            (memtable.listeners, STATEMENTS.remove_listeners, STATEMENTS.add_listeners),
        ):
            if links.removed:
                remove.run(driver, [(id_,) for id_ in links.removed])
            if added := links.added:
                add.run(driver, slotted(added))
        if added := [key for key, owed in memtable.unblocks.items() if owed]:
            STATEMENTS.add_unblocks.run(driver, slotted(added))
        if removed := [key for key, owed in memtable.unblocks.items() if not owed]:
            STATEMENTS.remove_unblocks.run(driver, removed)
        if put := [schedule for schedule in memtable.schedules.values() if schedule is not None]:
            STATEMENTS.put_schedules.run(driver, [schedule_values(schedule) for schedule in put])
        if deleted := [(id_,) for id_, each in memtable.schedules.items() if each is None]:
            STATEMENTS.delete_schedules.run(driver, deleted)
        if memtable.attempts:
            if logged := [each for each in memtable.attempts.values() if each is not None]:
                STATEMENTS.add_attempts.run(driver, attempt_values(logged))
            if forgotten := [key for key, each in memtable.attempts.items() if each is None]:
                STATEMENTS.remove_attempts.run(driver, forgotten)

    def _chunks(self, rows: Sequence[T]) -> Iterator[Sequence[T]]:
        pause = self.pause
        size = _CHUNK_ROWS if pause is None else _PAUSED_CHUNK_ROWS
        for at in range(0, len(rows), size):
            yield rows[at : at + size]
            if pause is not None:
                pause()

    def _update(self, rows: Sequence[Row]) -> None:
        driver = self._driver
        before = driver.total_changes
        settled = [update_values(row) for row in rows if row.promise.settled_at is not None]
        if settled:
            STATEMENTS.update_promises.run(driver, settled)
        if len(settled) < len(rows):
            pending = [task_values(row) for row in rows if row.promise.settled_at is None]
            STATEMENTS.update_tasks.run(driver, pending)
        updated = driver.total_changes - before
        if updated != len(rows):
            raise StoreError(f"only {updated} of {len(rows)} promises to update exist")

    def answer(self, reads: Sequence[Read]) -> list[Reply]:
        """Answer `reads` from the file as it is now. Nothing is written, so nothing is synced."""
        try:
            return self._lock_wait.until_free(lambda: self._answers(reads))
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise _plain(error) from None

    def _answers(self, reads: Sequence[Read]) -> list[Reply]:
        # By the connection that writes, because it has the pages in its cache.
        with self._writer.begin():
            return [answer(QUERIES, read, asking(self._writer)) for read in reads]

    def search(self, read: Read, time_limit_s: float) -> Reply:
        """Answer a search from the file as of one moment, beside whatever other threads do."""
        try:
            return self._searcher.search(read, time_limit_s)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise _plain(error) from None

    def opened(self) -> None:
        """Note that all of the store is open: waits for other programs end with `stop_waiting`."""
        self._lock_wait.opened()

    def stop_waiting(self) -> None:
        """Wait only shortly for other programs from now on, and end a search; from any thread."""
        self._searcher.stop()
        self._lock_wait.stop()

    def close(self) -> None:
        """Close all connections. A second call does nothing."""
        self._searcher.close()
        with self._find_lock:
            if self._closed:
                return
            self._closed = True
            # The writer last, because the last one moves the WAL into the file and removes it.
            # Where the disk fails at that, the WAL stays, and the next open reads it.
            for connection in reversed(self._connections):
                with suppress(SQLAlchemyError):
                    connection.close()


def _prepare(connection: Connection, path: Path) -> None:
    """Mark a new file as a store of understudy before all else, then turn the WAL on.

    A file is also new if a loss of power ended its making at this very place: SQLite has rolled it
    back to an empty one by now, so its header has lost the mark.
    """
    # SQLite heeds it only as long as the file is empty.
    connection.exec_driver_sql(f"PRAGMA page_size={PAGE_BYTES}")
    if connection.exec_driver_sql("PRAGMA application_id").scalar() != APPLICATION_ID:
        # The first of the two begins the file, so both are in one transaction.
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql("PRAGMA auto_vacuum=INCREMENTAL")
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
        connection.exec_driver_sql("COMMIT")
    mode = connection.exec_driver_sql("PRAGMA journal_mode=WAL").scalar()
    if mode != "wal":
        raise StoreAccessError(
            f"SQLite cannot keep a write-ahead log beside {path} (journal mode is {mode}). "
            "Put the store on a local file system"
        )


def _pair(values: Sequence[Any]) -> tuple[str, str]:
    first, second = values
    return first, second


def _driver_of(connection: Connection) -> sqlite3.Connection:
    """Return the driver's connection, for the statements of the hot path."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _plain(error: Exception) -> StoreError:
    """Return the driver's error alone, because the statement and its values are users' data."""
    cause = getattr(error, "orig", None) or error
    if type(cause) is sqlite3.DatabaseError:  # the file is no database, or a damaged one
        return StoreFormatError(str(cause))
    if isinstance(cause, sqlite3.OperationalError):  # the disk is full, or fails
        return StoreAccessError(str(cause))
    return StoreError(str(cause))
