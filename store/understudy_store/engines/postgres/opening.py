"""The opening of a store: from a URL to a writer that has taken over from all before it.

Waits here are without end where the cause will pass (a database that starts, a broker that ends),
and end as soon as the store's owner does not want it any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import psycopg
from msgspec import MsgspecError
from psycopg.conninfo import make_conninfo
from psycopg.errors import InsufficientPrivilege, LockNotAvailable
from psycopg.pq import PGconn, Ping
from sqlalchemy import Connection as CoreConnection
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from understudy_store.engines.base import Opening
from understudy_store.engines.journaled.memtable import Memtable
from understudy_store.engines.journaled.replay import replayed
from understudy_store.engines.postgres.checks import check_server
from understudy_store.engines.postgres.connections import (
    TELL_S,
    Connection,
    Connector,
    means_lost,
    message_of,
    plain,
)
from understudy_store.engines.postgres.rows_writer import write_memtable
from understudy_store.engines.postgres.schema import create, is_current, lock, migrate, revision_of
from understudy_store.engines.postgres.statements import Statements
from understudy_store.engines.postgres.writer import LEASE_S, Writer, fenced_error, register, resign
from understudy_store.errors import (
    OpeningStoppedError,
    StoreAccessError,
    StoreFormatError,
    StoreLockedError,
)

#: how long a broker that is alive is waited for, since it may be ending
LIVE_S: Final = 4 * LEASE_S
#: from one look at the database to the next
POLL_S: Final = 0.1
#: how long a takeover waits for a session of the earlier broker before it ends that one again
_LOCK_MS: Final = 1000


class Opener:
    """One opening of a store.

    Parameters
    ----------
    connector
        Makes the connections. It gets the writer's name.
    """

    def __init__(self, connector: Connector, statements: Statements, opening: Opening) -> None:
        self._connector = connector
        self._statements = statements
        self._opening = opening
        self._name = connector.address.name
        self._schema = connector.address.schema
        #: the writer of an attempt whose connection was lost
        self._left_behind: Writer | None = None

    def open(self) -> Writer:
        """Make a writer that has the store for itself.

        Raises
        ------
        StoreError
            The texts of `understudy_store.errors` say what was found and what to do.
        OpeningStoppedError
            As `opening` wishes.
        """
        while True:
            try:
                self._check()
                with _Core(lambda: self._connector.open(autocommit=False)) as core:
                    return self._open(core)
            except (psycopg.Error, DBAPIError) as raised:
                error = raised.orig if isinstance(raised, DBAPIError) else raised
                if not isinstance(error, psycopg.Error):
                    raise
                if not means_lost(error):
                    raise plain(error) from None
            self._pause("the connection to the database was lost")

    def _open(self, core: CoreConnection) -> Writer:
        writer = self._begin(core)
        try:
            self._take_over(core, writer)
        except BaseException:
            # Nobody is to wait for this one, and if it cannot be said now, then the next time.
            self._left_behind = writer
            with suppress(psycopg.Error, SQLAlchemyError), core.begin():
                resign(_driver_of(core), self._statements, writer)
            raise
        return writer

    # ---- the server -----------------------------------------------------------------------------

    def _check(self) -> None:
        """Wait until the database can be reached, then check it."""
        began = time.monotonic()
        told: float | None = None
        while True:
            try:
                with self._connector.open() as connection:
                    check_server(connection, self._name, self._opening.tell)
                return
            except psycopg.OperationalError as error:
                if not means_lost(error):
                    raise
                self._refuse_if_up(error)
                now = time.monotonic()
                if told is None or now - told >= TELL_S:
                    told = now
                    self._opening.tell(
                        f"waiting for the database {self._name} for {now - began:.0f} s already: "
                        f"{message_of(error)}"
                    )
            self._pause("the database could not be reached")

    def _refuse_if_up(self, error: psycopg.OperationalError) -> None:
        """Raise if a server answers and does not want us: waiting would change nothing."""
        conninfo = self._connector.address.conninfo
        if PGconn.ping(conninfo.encode()) != Ping.OK:
            return
        # Without the wish for one that accepts writes: is it there, then, as a standby?
        anyhow = make_conninfo(conninfo, target_session_attrs="any")
        try:
            connection = psycopg.connect(anyhow, autocommit=True)
        except psycopg.OperationalError:
            raise StoreAccessError(
                f"the database {self._name} cannot be used: {message_of(error)}. Check user, "
                "password and database in the store's URL, and pg_hba.conf on the server"
            ) from None
        with connection:
            check_server(connection, self._name, self._opening.tell)
        # It accepts writes by now, so the next attempt will do.

    def _begin(self, core: CoreConnection) -> Writer:
        """Make the schema if there is none, refuse what is none of ours, and make the writer."""
        with core.begin():
            if revision_of(core, self._schema, self._name) is None:
                lock(core, self._schema)
                if revision_of(core, self._schema, self._name) is None:
                    create(core, self._schema)
            connection = _driver_of(core)
            if self._left_behind is not None:
                resign(connection, self._statements, self._left_behind)
            writer = register(connection, self._statements)
            name = session_name(self._schema, writer.id)
            connection.execute("select set_config('application_name', %s, false)", (name,))
        self._connector.application_name = name
        return writer

    # ---- the broker before ----------------------------------------------------------------------

    def _take_over(self, core: CoreConnection, writer: Writer) -> None:
        began = time.monotonic()
        told = False
        while not self._took_over(core, writer):
            alive = self._alive(core, writer)
            if alive and time.monotonic() - began >= LIVE_S:
                raise StoreLockedError(
                    f"the store {self._name} is open in {alive}, which is alive. Stop that one "
                    "first, or talk to it instead of opening its store; another deployment needs a "
                    "schema of its own, by '?schema=NAME' at the end of the URL"
                )
            if alive and not told:
                told = True
                self._opening.tell(
                    f"waiting for {alive}, which has the store {self._name} open: it takes up "
                    f"to {LEASE_S:.0f} s until it counts as gone if it was killed"
                )
            self._pause("another broker has it open")

    def _alive(self, core: CoreConnection, writer: Writer) -> str | None:
        """Return the name of an earlier broker that lives; else end what they may have open."""
        with core.begin():
            connection = _driver_of(core)
            rows = connection.execute(self._statements.earlier, writer.keys).fetchall()
            for _, name, age in rows:
                if age is not None and age < LEASE_S:
                    return str(name)
            self._end_sessions(connection, [id_ for id_, _, _ in rows])
        return None

    def _end_sessions(self, connection: Connection, writers: Sequence[int]) -> None:
        """End the sessions of earlier brokers: paused, one could hold its lock for hours.

        The fence does not depend on this, and the sessions of another role may not be ended.
        """
        names = [session_name(self._schema, id_) for id_ in writers]
        with suppress(InsufficientPrivilege), connection.transaction():
            connection.execute(self._statements.end_sessions, {"names": names})

    def _took_over(self, core: CoreConnection, writer: Writer) -> bool:
        """Try to take over; return whether it was done. It is not while an earlier broker lives."""
        if self._alive(core, writer):
            return False
        try:
            return self._fence(core, writer)
        except LockNotAvailable:
            return False  # a session of it has begun since, or holds out

    def _fence(self, core: CoreConnection, writer: Writer) -> bool:
        """Fence all earlier writers and bring in what they committed; return whether it was done.

        One transaction, at READ COMMITTED. Its own row comes first: a writer that is fenced itself
        must take nothing. The journal is read in a statement after the fence, which therefore sees
        whatever was committed before it.
        """
        texts, keys = self._statements, writer.keys
        with core.begin() as transaction:
            connection = _driver_of(core)
            connection.execute(f"set local lock_timeout = {_LOCK_MS}")
            if connection.execute(texts.unfenced, keys).fetchone() is None:
                raise fenced_error(writer)
            connection.execute(texts.fence, {**keys, "lease": LEASE_S})
            if connection.execute(texts.earlier, keys).fetchone() is not None:
                transaction.rollback()  # one of them lives after all
                return False
            self._migrate(core)
            memtable = self._left(connection, writer)
            if memtable:
                connection.execute(texts.make_given)
                write_memtable(connection, texts, memtable)
            for text in (texts.forget_journals, texts.forget_pulses, texts.forget_progress):
                connection.execute(text, keys)
        return True

    def _migrate(self, core: CoreConnection) -> None:
        revision = revision_of(core, self._schema, self._name)
        assert revision is not None
        if not is_current(revision):
            lock(core, self._schema)
            migrate(core)

    def _left(self, connection: Connection, writer: Writer) -> Memtable:
        """Return the commits in the journals of earlier writers."""
        with connection.cursor(binary=True) as cursor:
            rows = cursor.execute(self._statements.left_in_journal, writer.keys).fetchall()
        records: list[bytes] = []
        last = (0, 0)
        for id_, applied, number, data in rows:
            before = last[1] if last[0] == id_ else applied
            if number != before + 1:
                raise StoreFormatError(
                    f"the journal of the store {self._name} lacks commit {before + 1} of writer "
                    f"{id_}: something else than a broker has changed it. Restore the database "
                    "from a backup"
                )
            last = (id_, number)
            records.append(data)
        try:
            return replayed(records)
        except (MsgspecError, UnicodeDecodeError) as error:
            raise StoreFormatError(
                f"the journal of the store {self._name} is damaged: {error}. Restore the database "
                "from a backup"
            ) from error

    # ---- helpers --------------------------------------------------------------------------------

    def _pause(self, why: str) -> None:
        if self._opening.is_unwanted():
            raise OpeningStoppedError(f"the store {self._name} was not opened: {why}")
        time.sleep(POLL_S)


class _Core:
    """A connection of SQLAlchemy over one of ours, for the schema."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._engine = create_engine(
            "postgresql+psycopg://",
            creator=connect,
            poolclass=NullPool,
            # It would log that it cannot reset a connection that is lost. It is closed in any case.
            pool_reset_on_return=None,
            # It would ask the server for a type that is not used.
            use_native_hstore=False,
        )

    def __enter__(self) -> CoreConnection:
        self._connection = self._engine.connect()
        return self._connection

    def __exit__(self, *exc: Any) -> None:
        self._connection.close()
        self._engine.dispose()


def session_name(schema: str, writer: int) -> str:
    """Return the name that the server shows for the connections of a writer."""
    return f"understudy/{schema}/{writer}"


def _driver_of(connection: CoreConnection) -> Connection:
    """Return the driver's connection, which is in the same transaction."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver
