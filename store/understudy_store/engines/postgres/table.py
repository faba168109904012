"""The tables of a PostgreSQL store, through three connections.

One writes, one finds, and one searches, from the first search on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any, Final, TypeVar

import psycopg
from msgspec.structs import replace
from sqlalchemy import URL, CompoundSelect, Select

from understudy_store.changes import Snapshot
from understudy_store.commands import ReadCommand, Reply
from understudy_store.engines.base import Read
from understudy_store.engines.journaled.memtable import Memtable
from understudy_store.engines.postgres.connections import Connection, Connector, Link, plain
from understudy_store.engines.postgres.first_id import FirstId
from understudy_store.engines.postgres.rows_writer import write_memtable
from understudy_store.engines.postgres.statements import Statements
from understudy_store.engines.postgres.writer import Writer, refusal
from understudy_store.engines.searches import Rereading
from understudy_store.engines.sql.answers import answer
from understudy_store.engines.sql.queries import Queries
from understudy_store.engines.sql.rows import row_of, schedule_of
from understudy_store.errors import SearchTimeoutError, StoreClosedError, StoreError
from understudy_store.pending_row import pending_row
from understudy_store.records import Row

T = TypeVar("T")

#: rows that a load has in memory at a time
_LOADED_ROWS: Final = 2_000
#: The server's own vacuum comes once a minute. Until then, deletions from a busy journal would
#: leave hundreds of megabytes.
VACUUM_S: Final = 10.0
#: commits whose deletion is worth it
VACUUM_COMMITS: Final = 2_000


class PostgresTable:
    """The tables, as a `Table`.

    Parameters
    ----------
    check
        Checks that a new connection leads to the database with every commit.
    acknowledged
        Returns the number of the last commit that the database has acknowledged.
    shared
        Answers are about this writer's slots only.

    Attributes
    ----------
    first_id
        Answers what `first_from` does to a loop, which does not wait.
    """

    def __init__(
        self,
        connector: Connector,
        statements: Statements,
        writer: Writer,
        check: Callable[[Connection], object],
        acknowledged: Callable[[], int],
        *,
        shared: bool,
    ) -> None:
        #: called after every few rows of a write, to let other threads go on; None: no pauses
        self.pause: Callable[[], object] | None = None
        self._is_shared = shared
        self._connector = connector
        self._statements = statements
        self._writer = writer
        self._check = check
        self._acknowledged = acknowledged
        self._queries = Queries(
            URL.create("postgresql+psycopg").get_dialect()(),
            connector.address.schema,
            writer.id if shared else None,
        )
        self._writing = Link(connector, self._prepare)
        self._finding = Link(connector, self._prepare_finding)
        self._searching = Link(connector, check)
        #: held by whoever searches
        self._search_lock = Lock()
        #: the connection of the search that is under way
        self._search_under_way: Connection | None = None
        self._stopping = False
        #: held by whoever finds
        self._find_lock = Lock()
        self.first_id = FirstId(statements.first_id, self._find_lock)
        self._closed = False
        #: of the last commit that is in the tables
        self._number = 0
        self._vacuum_at = time.monotonic() + VACUUM_S
        self._deleted = 0

    def _prepare(self, connection: Connection) -> None:
        self._check(connection)
        connection.execute(self._statements.make_given)

    def _prepare_finding(self, connection: Connection) -> None:
        self._check(connection)
        self.first_id.prepare(connection)

    # ---- loading --------------------------------------------------------------------------------

    def load(self) -> Snapshot:
        """Return all that a machine needs; long parts are read while they are iterated over."""
        texts, queries = self._statements, self._queries

        def act(connection: Connection) -> Snapshot:
            with connection.transaction(), connection.cursor(binary=True) as cursor:
                [now] = cursor.execute(texts.now).fetchone() or (0,)
                owed = cursor.execute(texts.unblocks).fetchall()
                schedules = cursor.execute(texts.schedules).fetchall()
            return Snapshot(
                now=now,
                live=Rereading(lambda: self._rows_of(queries.pending, pending_row)),
                callbacks=Rereading(lambda: self._rows_of(queries.callbacks, _pair)),
                listeners=Rereading(lambda: self._rows_of(queries.listeners, _pair)),
                unblocks=[(row_of(row[:-1]).promise, row[-1]) for row in owed],
                schedules=[schedule_of(row) for row in schedules],
                epoch=self._writer.id,
            )

        return self._writing.run(act)

    def _rows_of(self, text: str, make: Callable[[Sequence[Any]], T]) -> Iterator[T]:
        """Read over a connection of its own, with a cursor of the server's."""
        try:
            with (
                self._connector.open() as connection,
                connection.transaction(),
                connection.cursor(name="load") as cursor,
            ):
                self._check(connection)
                cursor.itersize = _LOADED_ROWS
                yield from map(make, cursor.execute(text, binary=True))
        except psycopg.Error as error:
            raise plain(error) from None

    def load_slots(self, slots: Collection[int]) -> Snapshot:
        """Return all that a machine needs of `slots`, beside whatever another thread does.

        They are this writer's, and it has no commits to them that the tables lack. So nobody else
        changes them meanwhile, and the statements need no common view of the database.

        Raises
        ------
        StoreError
            One of them is not this writer's.
        """
        texts = self._statements
        wanted = sorted(slots)
        values = {"slots": wanted, "writer": self._writer.id}

        def act(connection: Connection) -> Snapshot:
            if connection.execute(texts.own, values).fetchone() != (len(wanted),):
                self._check(connection)
                raise StoreError(f"slots to load are not those of writer {self._writer.id}")
            with connection.cursor(binary=True) as cursor:
                [now] = cursor.execute(texts.now).fetchone() or (0,)
                live, callbacks, listeners, owed, schedules = (
                    cursor.execute(text, values).fetchall()
                    for text in (
                        texts.load_promises,
                        texts.load_callbacks,
                        texts.load_listeners,
                        texts.load_unblocks,
                        texts.load_schedules,
                    )
                )
            return Snapshot(
                now=now,
                live=[pending_row(row) for row in live],
                callbacks=[_pair(row) for row in callbacks],
                listeners=[_pair(row) for row in listeners],
                unblocks=[(row_of(row[:-1]).promise, row[-1]) for row in owed],
                schedules=[schedule_of(row) for row in schedules],
                epoch=self._writer.id,
            )

        return self._found(act)

    def load_none(self) -> Snapshot:
        """Return a snapshot of no slots."""
        return self._found(
            lambda connection: Snapshot(
                now=(connection.execute(self._statements.now).fetchone() or (0,))[0],
                epoch=self._writer.id,
            )
        )

    # ---- finding --------------------------------------------------------------------------------

    def find(self, ids: Collection[str]) -> list[Row]:
        """Return the rows of `ids`, each named once, beside whatever another thread does."""
        text = self._statements.find_promises
        # No id has a NUL, and the server would not take one.
        wanted = [id_ for id_ in ids if "\0" not in id_]

        def act(connection: Connection) -> list[tuple[Any, ...]]:
            return connection.execute(text, (wanted,), prepare=True, binary=True).fetchall()

        return [row_of(row) for row in self._found(act)]

    def first_from(self, id_: str) -> str | None:
        """Return the first id from `id_` on, in the order of bytes; None if there is none."""
        return self._found(lambda _: self.first_id.ask(id_))

    def _found(self, act: Callable[[Connection], T]) -> T:
        with self._find_lock:
            if self._closed:
                raise StoreClosedError(f"the store {self._connector.address.name} is closed")
            return self._finding.run(act)

    # ---- writing --------------------------------------------------------------------------------

    def write(self, memtable: Memtable, number: int) -> None:
        """Write all of `memtable` or nothing, durable on return. Its last commit is `number`.

        If the connection is lost, it is unknown whether it was written. The row in `progress` says
        which: only one of two attempts can advance it.
        """
        self._writing.run(lambda connection: self._write(connection, memtable, number))
        self._deleted += number - self._number
        self._number = number
        self._vacuum()

    def _write(self, connection: Connection, memtable: Memtable, number: int) -> None:
        texts, keys = self._statements, self._writer.keys
        with connection.transaction() as transaction:
            if connection.execute(texts.unfenced, keys).fetchone() is None:
                raise refusal(connection, texts, self._writer, self._acknowledged())
            advanced = {**keys, "number": number, "before": self._number}
            if connection.execute(texts.advance, advanced).rowcount != 1:
                [applied] = connection.execute(texts.applied, keys).fetchone() or (0,)
                if applied != number:
                    raise refusal(connection, texts, self._writer, self._number)
                raise psycopg.Rollback(transaction)  # an attempt whose answer was lost has done it
            write_memtable(connection, texts, memtable, self.pause)
            connection.execute(texts.forget_commits, {**keys, "number": number})

    def _vacuum(self) -> None:
        now = time.monotonic()
        if self._deleted < VACUUM_COMMITS or now < self._vacuum_at:
            return
        self._vacuum_at, self._deleted = now + VACUUM_S, 0
        self._writing.run(lambda connection: connection.execute(self._statements.vacuum))

    # ---- answering ------------------------------------------------------------------------------

    def answer(self, reads: Sequence[Read]) -> list[Reply]:
        """Answer `reads` from the tables as they are now.

        In a shared store they are about this writer's slots. So it must have them until the last is
        read: of one that was fenced meanwhile the tables would say that there is nothing. Its slots
        go in the transaction that fences it, which the lock of its row keeps waiting.
        """
        texts, keys = self._statements, self._writer.keys

        def act(connection: Connection) -> list[Reply]:
            with connection.transaction():
                if self._is_shared and connection.execute(texts.unfenced, keys).fetchone() is None:
                    raise refusal(connection, texts, self._writer, self._acknowledged())
                return [self._answer(connection, read) for read in reads]

        return self._writing.run(act)

    def search(self, read: Read, time_limit_s: float) -> Reply:
        """Answer a search as of one moment, beside whatever other threads do.

        At that moment this writer had the slots of which it is told: what is read says so. So,
        other than for `answer`, no lock must keep them here.

        Raises
        ------
        SearchTimeoutError, StoreClosedError, StoreError
            As for `Engine.search`.
        """
        limit = f"set local statement_timeout = {max(1, round(time_limit_s * 1000))}"

        def act(connection: Connection) -> Reply:
            self._search_under_way = connection
            try:
                self._check_searchable()
                with connection.transaction():
                    connection.execute("set transaction isolation level repeatable read, read only")
                    self._check(connection)
                    connection.execute(limit.encode())
                    return self._answer(connection, read)
            except psycopg.errors.QueryCanceled:
                self._check_searchable()
                raise SearchTimeoutError(
                    f"a search of {self._connector.address.name} took too long"
                ) from None
            finally:
                self._search_under_way = None

        with self._search_lock:
            self._check_searchable()
            return self._searching.run(act)

    def _check_searchable(self) -> None:
        if self._stopping:
            raise StoreClosedError(f"the store {self._connector.address.name} is closed")

    def stop_searching(self) -> None:
        """End a search that is under way, and do no other; from any thread."""
        self._stopping = True
        connection = self._search_under_way
        if connection is not None:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=1.0)

    def _answer(self, connection: Connection, read: Read) -> Reply:
        def ask(query: Select[Any] | CompoundSelect[Any]) -> list[tuple[Any, ...]]:
            text, parameters = self._queries.compiled(query)
            return connection.execute(text, parameters, binary=True).fetchall()

        return answer(self._queries, Read(_without_nul(read.command), read.now), ask)

    def close(self) -> None:
        """Close all connections. A second call does nothing."""
        self.stop_searching()
        with self._search_lock, self._find_lock:
            self._closed = True
            self._searching.close()
            self.first_id.close()
            self._writing.close()
            self._finding.close()


def _without_nul(command: ReadCommand) -> ReadCommand:
    """Return the same question without NUL, which no stored text has and the server takes none of.

    A cursor ends before it. Any other text with a NUL is in no row, as is the text that replaces
    it.
    """
    nowhere = "\ufffe\x01"
    changed: dict[str, Any] = {}
    for name in command.__struct_fields__:
        value = getattr(command, name)
        if name == "cursor" and value is not None:
            changed[name] = value.partition("\0")[0]
        elif name == "tags" and any("\0" in key or "\0" in text for key, text in value.items()):
            changed[name] = {nowhere: nowhere}
        elif isinstance(value, str) and "\0" in value:
            changed[name] = nowhere
    return replace(command, **changed) if changed else command


def _pair(values: Sequence[Any]) -> tuple[str, str]:
    first, second = values
    return first, second
