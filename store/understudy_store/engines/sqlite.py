"""Promises in one SQLite file. Two connections: one writes, one finds; each has its own thread.

WAL with ``synchronous=FULL``: a commit is on the disk when it returns. Only the writer checkpoints.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, select
from sqlalchemy.exc import SQLAlchemyError

from understudy_store import migrations
from understudy_store.changes import Changes, Row, Snapshot
from understudy_store.commands import (
    PromiseSearch,
    Reply,
    ScheduleSearch,
    TaskPreload,
    TaskSearch,
)
from understudy_store.engines import pages
from understudy_store.engines import statements as sql
from understudy_store.engines.base import Read
from understudy_store.engines.files import (
    FileLock,
    FilesInPlace,
    access_error,
    check_ours,
    make_directory,
    sync_directory,
)
from understudy_store.engines.reading import Reading, page, refusal
from understudy_store.engines.rows import (
    insert_values,
    live_row,
    row_of,
    schedule_of,
    schedule_values,
    task_values,
    update_values,
)
from understudy_store.errors import (
    StoreAccessError,
    StoreClosedError,
    StoreError,
    StoreFormatError,
    StoreVersionError,
)
from understudy_store.projection import projected, projected_row
from understudy_store.tables import (
    APPLICATION_ID,
    Meta,
    Promise,
    Schedule,
    Unblock,
    table,
)

T = TypeVar("T")

#: UPDATE ... FROM
_SQLITE_VERSION_MIN = (3, 33)
#: Of new files. Twice SQLite's own: batches write a quarter faster, for their rows are on half as
#: many pages; of a single row's commit most is the sync.
PAGE_BYTES = 8192
#: what the log grows to between checkpoints, and a commit beyond: so it stays in the cache
LOG_BYTES = 4 * 1024 * 1024
_WRITER_PRAGMAS = (
    "PRAGMA synchronous=FULL",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA cache_size=-16384",
)
_READER_PRAGMAS = ("PRAGMA query_only=ON",)

_promise = table(Promise)
_meta = table(Meta)
#: how often it is looked whether the files are where they were
LOOK_S: Final = 1.0
_SET_NOW = "UPDATE meta SET value = ? WHERE key = 'now'"


def _connect(path: Path, pragmas: Sequence[str], begin: str | None) -> Engine:
    """An engine of one connection; transactions begin with `begin`, None leaves each its own."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=NullPool,
        connect_args={"check_same_thread": False, "timeout": 5.0},
    )

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        # The driver is not to begin transactions by itself: it would not before a SELECT.
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(pragma)

    if begin is not None:

        @event.listens_for(engine, "begin")
        def on_begin(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

    return engine


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """SQLite's errors while opening, in our words."""
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
            "or move it away together with its -wal file to begin anew"
        ) from cause


class SqliteEngine:
    """The engine over one file.

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
        with _explained(path):
            self._path = path = path.expanduser().resolve()
            exists = check_ours(path)
            if not exists:
                make_directory(path.parent)
            self._lock = FileLock(path)
        self._closed = False
        self._find_lock = Lock()
        self._connections: list[Connection] = []
        try:
            with _explained(path):
                self._open(exists)
        except BaseException:
            self.close()
            raise

    def _open(self, exists: bool) -> None:
        if exists:
            with self._path.open("r+b"):
                pass  # SQLite itself would fall back to reading only
        writing = _connect(self._path, _WRITER_PRAGMAS, "BEGIN IMMEDIATE")
        with _connect(self._path, (), None).connect() as connection:
            _prepare(connection, self._path)
        self._writer = writing.connect()
        self._connections.append(self._writer)
        with self._writer.begin():
            self._migrate()
        self._driver = _driver_of(self._writer)
        _presize_log(self._driver)
        self._now = 0
        if not exists:
            sync_directory(self._path.parent)
        self._finder = _connect(self._path, _READER_PRAGMAS, None).connect()
        self._connections.append(self._finder)
        self._finder_driver = _driver_of(self._finder)
        name = self._path.name
        beside = [self._path.with_name(name + more) for more in ("-wal", "-shm", ".lock")]
        self._files = FilesInPlace([self._path, *beside])
        self._look_at = time.monotonic() + LOOK_S

    def _migrate(self) -> None:
        names = "SELECT name FROM sqlite_master WHERE name = ?"
        found = None
        if self._writer.exec_driver_sql(names, (migrations.VERSION_TABLE,)).first():
            found = self._writer.exec_driver_sql(
                f"SELECT version_num FROM {migrations.VERSION_TABLE}"
            ).scalar()
        if found == migrations.HEAD:
            return
        if found is None:
            migrations.create(self._writer)
            return
        if found not in migrations.REVISIONS:
            raise StoreVersionError(
                f"the store {self._path} has schema {found}; this understudy knows schemas up to "
                f"{migrations.HEAD}. A newer one made it: upgrade understudy, or name another path"
            )
        migrations.upgrade(self._writer)

    @property
    def description(self) -> str:
        return f"sqlite:///{self._path} (wal, synchronous=full)"

    def load(self) -> Snapshot:
        with _explained(self._path), self._find_lock:
            now = self._finder.execute(select(_meta.c.value).where(_meta.c.key == "now"))
            self._now = int(now.scalar_one())
            owed = self._finder.execute(
                select(*sql.promise_columns, table(Unblock).c.address).join_from(
                    table(Unblock), _promise, table(Unblock).c.promise_id == _promise.c.id
                )
            )
            unblocks = [(row_of(row[:-1]).promise, row[-1]) for row in owed]
            return Snapshot(
                now=self._now,
                live=Reading(lambda: self._rows_of(pages.LOAD, live_row)),
                callbacks=Reading(lambda: self._rows_of(pages.CALLBACKS, _pair)),
                listeners=Reading(lambda: self._rows_of(pages.LISTENERS, _pair)),
                unblocks=unblocks,
                schedules=[
                    schedule_of(row)
                    for row in self._finder.execute(
                        select(*sql.schedule_columns).select_from(table(Schedule))
                    )
                ],
            )

    def _rows_of(self, text: str, make: Callable[[Sequence[Any]], T]) -> Iterator[T]:
        with _explained(self._path):
            yield from map(make, self._finder_driver.execute(text))

    def find(self, ids: Collection[str], *, alone: bool = False) -> list[Row]:
        with self._find_lock:
            if self._closed:
                raise StoreClosedError(f"the store {self._path} is closed")
            # The one that writes has the pages at hand: the other reads them anew after a commit.
            driver = self._driver if alone else self._finder_driver
            keys = [(id_,) for id_ in dict.fromkeys(ids)]
            try:
                if len(keys) == 1:
                    found = driver.execute(sql.FIND_PROMISE, keys[0]).fetchall()
                    return [row_of(row) for row in found]
                return [
                    row_of(row)
                    for result in sql.FIND_PROMISES.results(driver, keys)
                    for row in result.fetchall()
                ]
            except sqlite3.Error as error:
                raise _plain(error) from None

    def commit(self, changes: Changes, reads: Sequence[Read]) -> list[Reply]:
        try:
            if changes:
                self._transact(changes)
            if not reads:
                return []
            # This connection alone writes, so it sees this commit and none after it; it also has
            # the pages at hand. Nothing is written, so nothing is synced.
            with self._writer.begin():
                return [self._answer(read) for read in reads]
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise _plain(error) from None

    def _transact(self, changes: Changes) -> None:
        """All of `changes` or nothing; durable on return."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._files.check()
        driver = self._driver
        driver.execute("BEGIN IMMEDIATE")
        try:
            self._write(changes)
            driver.execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself after some errors, a full disk among them
            if driver.in_transaction:
                with suppress(sqlite3.Error):
                    driver.execute("ROLLBACK")
            raise

    def _write(self, changes: Changes) -> None:
        writer = self._driver
        if changes.inserted:
            sql.INSERT_PROMISES.run(writer, [insert_values(row) for row in changes.inserted])
        if changes.updated:
            self._update(changes.updated)
        if changes.callbacks_added:
            sql.ADD_CALLBACKS.run(writer, changes.callbacks_added)
        if changes.listeners_added:
            sql.ADD_LISTENERS.run(writer, changes.listeners_added)
        if changes.unblocks_added:
            sql.ADD_UNBLOCKS.run(writer, changes.unblocks_added)
        if changes.schedules_put:
            sql.PUT_SCHEDULES.run(writer, [schedule_values(s) for s in changes.schedules_put])
        if changes.callbacks_removed:
            sql.REMOVE_CALLBACKS.run(writer, [(id_,) for id_ in changes.callbacks_removed])
        if changes.listeners_removed:
            sql.REMOVE_LISTENERS.run(writer, [(id_,) for id_ in changes.listeners_removed])
        if changes.unblocks_removed:
            sql.REMOVE_UNBLOCKS.run(writer, changes.unblocks_removed)
        if changes.schedules_deleted:
            sql.DELETE_SCHEDULES.run(writer, [(id_,) for id_ in changes.schedules_deleted])
        if changes.now > self._now:
            writer.execute(_SET_NOW, (str(changes.now),))
            self._now = changes.now

    def _update(self, rows: Sequence[Row]) -> None:
        driver = self._driver
        before = driver.total_changes
        settled = [update_values(row) for row in rows if row.promise.settled_at is not None]
        if settled:
            sql.UPDATE_PROMISES.run(driver, settled)
        if len(settled) < len(rows):
            pending = [task_values(row) for row in rows if row.promise.settled_at is None]
            sql.UPDATE_TASKS.run(driver, pending)
        updated = driver.total_changes - before
        if updated != len(rows):
            raise StoreError(f"of {len(rows)} promises to update only {updated} exist")

    def _answer(self, read: Read) -> Reply:
        command, now = read.command, read.now
        refused = refusal(command)
        if refused is not None:
            return refused
        match command:
            case TaskPreload():
                rows = self._rows(pages.preload(command))
                return Reply(200, promises=[projected(row.promise, now) for row in rows])
            case PromiseSearch():
                found = self._rows(pages.search_promises(command, now))
                rows, cursor = page(found, command.limit, _row_id)
                promises = [projected(row.promise, now) for row in rows]
                return Reply(200, promises=promises, cursor=cursor)
            case TaskSearch():
                found = self._rows(pages.search_tasks(command, now))
                rows, cursor = page(found, command.limit, _row_id)
                tasks = [task for row in rows if (task := projected_row(row, now).task)]
                return Reply(200, tasks=tasks, cursor=cursor)
            case ScheduleSearch():
                query = self._writer.execute(pages.search_schedules(command))
                schedules = [schedule_of(values) for values in query]
                kept, cursor = page(schedules, command.limit, lambda schedule: schedule.id)
                return Reply(200, schedules=kept, cursor=cursor)

    def _rows(self, query: Any) -> list[Row]:
        return [row_of(values) for values in self._writer.execute(query).fetchall()]

    def close(self) -> None:
        with self._find_lock:
            if self._closed:
                return
            self._closed = True
            # The writer last: whoever is last moves the WAL into the file and removes it. Where the
            # disk no longer does that, the WAL stays, and the next open reads it.
            for connection in reversed(self._connections):
                with suppress(SQLAlchemyError):
                    connection.close()
            self._lock.release()


def _prepare(connection: Connection, path: Path) -> None:
    """Mark a new file as ours before all else, then turn the WAL on.

    New is also what a loss of power cut short at this very place: SQLite has rolled it back to
    nothing by now, and the mark that its header had is gone.
    """
    # heeded only as long as the file is empty
    connection.exec_driver_sql(f"PRAGMA page_size={PAGE_BYTES}")
    if connection.exec_driver_sql("PRAGMA application_id").scalar() != APPLICATION_ID:
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
    mode = connection.exec_driver_sql("PRAGMA journal_mode=WAL").scalar()
    if mode != "wal":
        raise StoreAccessError(
            f"SQLite cannot keep a write-ahead log beside {path} (journal mode is {mode}). "
            "Put the store on a local file system"
        )


def _presize_log(driver: sqlite3.Connection) -> None:
    """Let the write-ahead log have its full length from the start, and begin anew there.

    To sync an append, the file system must also sync the file's new length: measured 0.48 ms for
    20 KiB, and 0.19 ms for the same bytes written over others. SQLite begins the log anew after
    each checkpoint and writes over what is there, so it is enough to fill it once.
    """
    # counted in the file's own pages: those of an older one are smaller
    [page_bytes] = driver.execute("PRAGMA page_size").fetchone()
    driver.execute(f"PRAGMA wal_autocheckpoint={LOG_BYTES // page_bytes}")
    # left by a process that died here
    driver.execute("DROP TABLE IF EXISTS filler")
    driver.execute("CREATE TABLE filler (bytes BLOB)")
    driver.execute("INSERT INTO filler VALUES (zeroblob(?))", (LOG_BYTES,))
    driver.execute("DROP TABLE filler")
    driver.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()


def _pair(values: Sequence[Any]) -> tuple[str, str]:
    first, second = values
    return first, second


def _row_id(row: Row) -> str:
    return row.promise.id


def _driver_of(connection: Connection) -> sqlite3.Connection:
    """What SQLAlchemy's connection holds, for the statements of the hot path."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def _plain(error: Exception) -> StoreError:
    """Only what the driver said: the statement and its values are long, and users' data."""
    cause = getattr(error, "orig", None) or error
    if type(cause) is sqlite3.DatabaseError:  # what it reads is no database, or a damaged one
        return StoreFormatError(str(cause))
    return StoreError(str(cause))
