"""SQLite's file of a store. Two connections: one writes and answers, one finds beside it.

WAL with ``synchronous=FULL``: what is written is on the disk when `Database.write` returns. Only
the writer checkpoints.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, select
from sqlalchemy.exc import SQLAlchemyError

from understudy_store.changes import Row, Snapshot
from understudy_store.commands import (
    PromiseSearch,
    Reply,
    ScheduleSearch,
    TaskPreload,
    TaskSearch,
)
from understudy_store.engines.base import Read
from understudy_store.engines.searches import Reading, page, refusal
from understudy_store.engines.sql import migrations
from understudy_store.engines.sql import queries as pages
from understudy_store.engines.sql import statements as sql
from understudy_store.engines.sql.rows import (
    insert_values,
    live_row,
    row_of,
    schedule_of,
    schedule_values,
    task_values,
    update_values,
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
from understudy_store.engines.sqlite.memtable import Memtable
from understudy_store.errors import (
    StoreAccessError,
    StoreClosedError,
    StoreError,
    StoreFormatError,
    StoreVersionError,
)
from understudy_store.projection import projected, projected_row

T = TypeVar("T")

#: Of new files. Twice SQLite's own: batches write a quarter faster, for their rows are on half as
#: many pages.
PAGE_BYTES = 8192
#: what SQLite's log grows to between checkpoints, and a commit beyond: so it stays in the cache
LOG_BYTES = 4 * 1024 * 1024
#: rows that are made ready at once: meanwhile no other thread has the interpreter
_READY_ROWS = 256
#: the same, where others are not to be held up
_FEW_ROWS = 64
_WRITER_PRAGMAS = (
    "PRAGMA synchronous=FULL",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA cache_size=-16384",
)
_READER_PRAGMAS = ("PRAGMA query_only=ON",)

_promise = table(Promise)
_meta = table(Meta)


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
def explained(path: Path) -> Iterator[None]:
    """Errors while opening, in our words."""
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
    """The file at `path`, made where `exists` is false, with the schema of today.

    Raises
    ------
    StoreFormatError, StoreVersionError, StoreAccessError
        See their texts; what was found is left as it is. All methods raise `StoreError`.
    """

    def __init__(self, path: Path, exists: bool) -> None:
        self._path = path
        #: called after every few rows of a write, for the sake of other threads; None: no pauses
        self.pause: Callable[[], object] | None = None
        self._find_lock = Lock()
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
        writing = _connect(self._path, _WRITER_PRAGMAS, "BEGIN IMMEDIATE")
        with _connect(self._path, (), None).connect() as connection:
            _prepare(connection, self._path)
        self._writer = writing.connect()
        self._connections.append(self._writer)
        with self._writer.begin():
            self._migrate()
            found = self._writer.execute(select(_meta.c.key, _meta.c.value))
            meta = {row.key: row.value for row in found}
        #: of which store the journal is
        self.store = bytes.fromhex(meta["store"])
        #: number of the last commit that is in the file
        self.number = int(meta["commit"])
        self._now = int(meta["now"])
        self._driver = _driver_of(self._writer)
        # counted in the file's own pages: those of an older one are smaller
        [page_bytes] = self._driver.execute("PRAGMA page_size").fetchone()
        self._driver.execute(f"PRAGMA wal_autocheckpoint={LOG_BYTES // page_bytes}")
        if not exists:
            sync_directory(self._path.parent)
        self._finder = _connect(self._path, _READER_PRAGMAS, None).connect()
        self._connections.append(self._finder)
        self._finder_driver = _driver_of(self._finder)

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

    def load(self) -> Snapshot:
        """All that a machine needs; what may be much is read when it is asked for."""
        with explained(self._path), self._find_lock:
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
        with explained(self._path):
            yield from map(make, self._finder_driver.execute(text))

    def find(self, ids: Collection[str]) -> list[Row]:
        """The rows of `ids`, each named once; beside whatever another thread does."""
        with self._find_lock:
            if self._closed:
                raise StoreClosedError(f"the store {self._path} is closed")
            driver = self._finder_driver
            keys = [(id_,) for id_ in ids]
            try:
                if len(keys) == 1:
                    found = driver.execute(sql.FIND_PROMISE, keys[0])
                    return [row_of(row) for row in found.fetchall()]
                if len(keys) <= sql.CHUNK_ROWS:
                    return self._find(keys)
                # Several statements, which are to see the file as it is at one moment.
                driver.execute("BEGIN")
                try:
                    return self._find(keys)
                finally:
                    driver.execute("COMMIT")
            except sqlite3.Error as error:
                raise _plain(error) from None

    def first_from(self, id_: str) -> str | None:
        """`id_`, or else the first id after it, in the order of their bytes; None: none."""
        with self._find_lock:
            if self._closed:
                raise StoreClosedError(f"the store {self._path} is closed")
            try:
                [(first,)] = self._finder_driver.execute(sql.FIRST_ID, (id_,)).fetchall()
            except sqlite3.Error as error:
                raise _plain(error) from None
            return None if first is None else str(first)

    def _find(self, keys: Sequence[tuple[str]]) -> list[Row]:
        return [
            row_of(row)
            for result in sql.FIND_PROMISES.results(self._finder_driver, keys)
            for row in result.fetchall()
        ]

    def write(self, pending: Memtable, number: int) -> None:
        """All of `pending` or nothing, and that it ends with commit `number`; durable on return."""
        driver = self._driver
        try:
            driver.execute("BEGIN IMMEDIATE")
            try:
                self._write(pending)
                self._set("commit", number)
                if pending.now > self._now:
                    self._set("now", pending.now)
                driver.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself after some errors, a full disk among them
                if driver.in_transaction:
                    with suppress(sqlite3.Error):
                        driver.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise _plain(error) from None
        self.number = number
        self._now = max(self._now, pending.now)

    def _set(self, key: str, value: int) -> None:
        self._driver.execute("UPDATE meta SET value = ? WHERE key = ?", (str(value), key))

    def _write(self, pending: Memtable) -> None:
        writer = self._driver
        inserted, updated = pending.split()
        for part in self._parts(inserted):
            sql.INSERT_PROMISES.run(writer, insert_values(part))
        for part in self._parts(updated):
            self._update(part)
        for links, remove, add in (
            (pending.callbacks, sql.REMOVE_CALLBACKS, sql.ADD_CALLBACKS),
            (pending.listeners, sql.REMOVE_LISTENERS, sql.ADD_LISTENERS),
        ):
            if links.removed:
                remove.run(writer, [(id_,) for id_ in links.removed])
            if added := links.added:
                add.run(writer, added)
        if added := [key for key, owed in pending.unblocks.items() if owed]:
            sql.ADD_UNBLOCKS.run(writer, added)
        if removed := [key for key, owed in pending.unblocks.items() if not owed]:
            sql.REMOVE_UNBLOCKS.run(writer, removed)
        if put := [schedule for schedule in pending.schedules.values() if schedule is not None]:
            sql.PUT_SCHEDULES.run(writer, [schedule_values(schedule) for schedule in put])
        if deleted := [(id_,) for id_, each in pending.schedules.items() if each is None]:
            sql.DELETE_SCHEDULES.run(writer, deleted)

    def _parts(self, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
        pause = self.pause
        size = _READY_ROWS if pause is None else _FEW_ROWS
        for at in range(0, len(rows), size):
            yield rows[at : at + size]
            if pause is not None:
                pause()

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

    def answer(self, reads: Sequence[Read]) -> list[Reply]:
        """What the file holds now. Nothing is written, so nothing is synced."""
        try:
            # the connection that writes: it has the pages at hand
            with self._writer.begin():
                return [self._answer(read) for read in reads]
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise _plain(error) from None

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
                rows, cursor = page(found, command.limit, lambda row: row.promise.id)
                promises = [projected(row.promise, now) for row in rows]
                return Reply(200, promises=promises, cursor=cursor)
            case TaskSearch():
                found = self._rows(pages.search_tasks(command, now))
                rows, cursor = page(found, command.limit, lambda row: row.promise.id)
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
        """A second time does nothing."""
        with self._find_lock:
            if self._closed:
                return
            self._closed = True
            # The writer last: whoever is last moves the WAL into the file and removes it. Where the
            # disk no longer does that, the WAL stays, and the next open reads it.
            for connection in reversed(self._connections):
                with suppress(SQLAlchemyError):
                    connection.close()


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


def _pair(values: Sequence[Any]) -> tuple[str, str]:
    first, second = values
    return first, second


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
