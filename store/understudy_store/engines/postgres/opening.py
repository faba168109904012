"""The opening of a store: from a URL to a writer that may write.

A broker that wants the store for itself takes over from all before it. One that shares it takes
over from a broker that had it for itself, and from an earlier start of its own name.

Waits here are without end where the cause will pass (a database that starts, a broker that ends),
and end as soon as the store's owner does not want it any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.errors import LockNotAvailable
from psycopg.pq import PGconn, Ping
from sqlalchemy import Connection as CoreConnection
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from understudy_store.engines.base import Opening
from understudy_store.engines.postgres.advice import REFUSED, means_full
from understudy_store.engines.postgres.checks import check_server, is_standby
from understudy_store.engines.postgres.connections import (
    TELL_S,
    Connection,
    Connector,
    means_lost,
    message_of,
    plain,
    trouble_of,
)
from understudy_store.engines.postgres.pulse import Pulse
from understudy_store.engines.postgres.schema import (
    create,
    has_slots,
    is_additive,
    is_current,
    lock,
    migrate,
    revision_of,
)
from understudy_store.engines.postgres.statements import Statements
from understudy_store.engines.postgres.takeover import (
    LOCK_MS,
    bring_in,
    end_sessions,
    give_orphans,
    session_name,
)
from understudy_store.engines.postgres.writer import (
    LEASE_S,
    Writer,
    fenced_error,
    register,
    resign,
    shown_as,
)
from understudy_store.engines.sql import migrations
from understudy_store.errors import (
    OpeningStoppedError,
    StoreAccessError,
    StoreLockedError,
    StoreSharedError,
)

#: how long a broker that is alive is waited for, since it may be ending
LIVE_S: Final = 4 * LEASE_S
#: from one look at the database to the next
POLL_S: Final = 0.1
#: The pulse of an opening gives up when the database is away, as the opening itself begins anew.
PULSE_PATIENCE_S: Final = 1.0


class _Other(NamedTuple):
    """Another start of a broker, which nobody has fenced.

    Attributes
    ----------
    address
        None: it has the store for itself, or wants it.
    joined
        True once its opening is over.
    age_s
        Of its pulse; None: it has none.
    """

    id: int
    name: str
    address: str | None
    joined: bool
    age_s: float | None

    @property
    def is_alive(self) -> bool:
        return self.age_s is not None and self.age_s < LEASE_S

    @property
    def shown(self) -> str:
        """The broker, for people."""
        return self.name if self.address is None else f"the broker {self.name!r} at {self.address}"

    @property
    def refusal(self) -> str:
        """The reason why another broker cannot have the store, and what to do."""
        if self.address is None:
            return (
                f"is open in {self.name}, which is alive. Stop that one first, or talk to it "
                "instead of opening its store; another deployment needs a schema of its own, by "
                "'?schema=NAME' at the end of the URL"
            )
        return (
            f"is open in the broker {self.name!r} at {self.address}, which is alive. Stop that one "
            "first, or give this one another name"
        )


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
        self._share = opening.share
        self._name = connector.address.name
        self._schema = connector.address.schema
        #: the revision of a store whose migration ends what brokers of that revision can do
        self._breaks: str | None = None
        #: the writer of an attempt whose connection was lost
        self._left_behind: Writer | None = None

    def open(self) -> Writer:
        """Make a writer that has the store, for itself or beside others, as the opening wishes.

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
        # Whoever waits here for another broker, or brings in much, is not to count as gone.
        pulse = Pulse(self._connector, self._statements, writer, patience_s=PULSE_PATIENCE_S)
        try:
            self._take_over(core, writer)
        except BaseException:
            # Nobody is to wait for this one, and if it cannot be said now, then the next time.
            self._left_behind = writer
            with suppress(psycopg.Error, SQLAlchemyError), core.begin():
                resign(_driver_of(core), self._statements, writer)
            raise
        finally:
            pulse.close()
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
                    _, what = trouble_of(self._connector.address.conninfo, error)
                    self._opening.tell(
                        f"waiting for the database {self._name} ({now - began:.0f} s so far): "
                        f"{message_of(error)}. {what}"
                    )
            self._pause("the database could not be reached")

    def _refuse_if_up(self, error: psycopg.OperationalError) -> None:
        """Raise if a server answers and does not want us: waiting would change nothing.

        One that has too many connections at the moment is waited for, and of several servers the
        one that takes writes: after a failure of the primary, a standby becomes that.
        """
        conninfo = self._connector.address.conninfo
        if PGconn.ping(conninfo.encode()) != Ping.OK or means_full(message_of(error)):
            return
        # Without the wish for one that accepts writes: is it there, then, as a standby?
        anyhow = make_conninfo(conninfo, target_session_attrs="any")
        try:
            connection = psycopg.connect(anyhow, autocommit=True)
        except psycopg.OperationalError:
            raise StoreAccessError(
                f"the database {self._name} cannot be used: {message_of(error)}. {REFUSED}"
            ) from None
        with connection:
            if not (self._connector.address.has_others and is_standby(connection)):
                check_server(connection, self._name, self._opening.tell)
        # It accepts writes by now, so the next attempt will do.

    def _begin(self, core: CoreConnection) -> Writer:
        """Make the schema if there is none, refuse what is none of ours, and make the writer."""
        with core.begin():
            revision = revision_of(core, self._schema, self._name)
            if revision is None:
                lock(core, self._schema)
                revision = revision_of(core, self._schema, self._name)
                if revision is None:
                    create(core, self._schema)
            connection = _driver_of(core)
            if self._left_behind is not None:
                resign(connection, self._statements, self._left_behind)
            self._refuse_if_shared(connection)
            writer = register(
                connection,
                self._statements,
                self._share,
                has_slots=revision is None or has_slots(revision),
            )
            name = session_name(self._schema, writer.id)
            connection.execute("select set_config('application_name', %s, false)", (name,))
        self._connector.application_name = name
        return writer

    def _refuse_if_shared(self, connection: Connection) -> None:
        """Refuse a broker that wants the store for itself, if brokers share it, or did.

        What waits between slots then needs brokers that share them.
        """
        if self._share is not None or not connection.execute(self._statements.is_shared).fetchone():
            return
        text = (
            "Give this broker a name of its own and an address, so that it shares the store, or "
            "name another schema, by '?schema=NAME' at the end of the URL"
        )
        alive = [
            f"{each.name!r} at {each.address}"
            for each in self._others(connection, Writer(0, 0))
            if each.address is not None and each.joined and each.is_alive
        ]
        if alive:
            raise StoreLockedError(
                f"the store {self._name} is shared by brokers that are alive: "
                f"{', '.join(sorted(alive))}. {text}"
            )
        raise StoreSharedError(
            f"the store {self._name} has been shared by several brokers, and is opened by brokers "
            f"with a name from then on. {text}"
        )

    # ---- the broker before ----------------------------------------------------------------------

    def _take_over(self, core: CoreConnection, writer: Writer) -> None:
        began = time.monotonic()
        told = False
        while not self._took_over(core, writer):
            alive = self._alive(core, writer)
            if alive and time.monotonic() - began >= LIVE_S:
                raise self._refused(core, writer, alive)
            if alive and not told:
                told = True
                self._opening.tell(
                    f"waiting for {alive.shown}, which has the store {self._name} open: it takes "
                    f"up to {LEASE_S:.0f} s until it counts as gone if it was killed"
                )
            self._pause("another broker has it open")

    def _refused(self, core: CoreConnection, writer: Writer, alive: _Other) -> StoreLockedError:
        """Return the error of an opening that has waited in vain for brokers that live."""
        if self._breaks is None or alive.address is None:
            return StoreLockedError(f"the store {self._name} {alive.refusal}")
        with core.begin():
            others = self._others(_driver_of(core), writer)
        living = sorted(other.shown for other in others if other.joined and other.is_alive)
        return StoreLockedError(
            f"the store {self._name} has schema {self._breaks} and brokers that work with it: "
            f"{', '.join(living)}. This understudy brings it to schema {migrations.HEAD}, which "
            "they do not know: stop all of them, and start only newer ones from then on"
        )

    def _alive(self, core: CoreConnection, writer: Writer) -> _Other | None:
        """Return a broker that lives and is in the way; else end what the dead may have open."""
        with core.begin():
            connection = _driver_of(core)
            self._revision(core)
            others = self._others(connection, writer)
            for other in self._in_the_way(others, writer):
                if other.is_alive:
                    return other
            # One that is in nobody's way may have the lock of all openings.
            self._end_sessions(connection, [each.id for each in others if not each.is_alive])
        return None

    def _others(self, connection: Connection, writer: Writer) -> list[_Other]:
        rows = connection.execute(self._statements.others, writer.keys).fetchall()
        return [_Other._make(row) for row in rows]

    def _in_the_way(self, others: Sequence[_Other], writer: Writer) -> list[_Other]:
        """Return the other brokers, dead or alive, that the store cannot be opened beside.

        Those that are still opening it are not: they will find that this one has joined.
        """
        share = self._share
        return [
            other
            for other in others
            if (other.joined or (other.id < writer.id and not other.is_alive))
            and (
                share is None
                or other.address is None
                or other.name == share.name
                or self._breaks is not None
            )
        ]

    def _end_sessions(self, connection: Connection, writers: Sequence[int]) -> None:
        end_sessions(connection, self._statements, self._schema, writers)

    def _took_over(self, core: CoreConnection, writer: Writer) -> bool:
        """Try to take over; return whether it was done. It is not while one in the way lives."""
        if self._alive(core, writer):
            return False
        try:
            return self._fence(core, writer)
        except LockNotAvailable:
            return False  # a session of it has begun since, or holds out

    def _fence(self, core: CoreConnection, writer: Writer) -> bool:
        """Fence all writers in the way and bring in what they committed; return if it was done.

        One transaction, at READ COMMITTED. Its own row comes first: a writer that is fenced itself
        must take nothing. Then comes the lock of all openings, so that of two that cannot both have
        the store, the second finds that the first has joined. The journal is read in a statement
        after the fence, which therefore sees whatever was committed before it.
        """
        texts, keys = self._statements, writer.keys
        with core.begin() as transaction:
            connection = _driver_of(core)
            connection.execute(f"set local lock_timeout = {LOCK_MS}")
            if connection.execute(texts.unfenced, keys).fetchone() is None:
                raise fenced_error(writer)
            lock(core, self._schema)
            self._revision(core)
            self._refuse_if_shared(connection)
            before = self._in_the_way(self._others(connection, writer), writer)
            ids = [other.id for other in before]
            fenced = connection.execute(texts.fence, {"ids": ids, "lease": LEASE_S}).fetchall()
            if self._in_the_way(self._others(connection, writer), writer):
                transaction.rollback()  # one of them lives after all
                return False
            if not is_current(self._revision(core)):
                migrate(core)
            self._agree(connection, writer)
            bring_in(connection, texts, self._name, [id_ for (id_,) in fenced])
            connection.execute(texts.join, {**keys, **shown_as(self._share)})
            if self._share is not None:
                if connection.execute(texts.mark_shared).rowcount:
                    # Until now one broker had both ends of each wait.
                    connection.execute(texts.part_waits)
                give_orphans(connection, texts)
            # The beats may have waited for this transaction.
            connection.execute(texts.beat, keys)
        return True

    def _agree(self, connection: Connection, writer: Writer) -> None:
        """Refuse a broker of another deployment; the first one that has a name for it gives it.

        Raises
        ------
        StoreSharedError
            The store has another name, or brokers that live have none.
        """
        wanted = None if self._share is None else self._share.deployment
        if wanted is None:
            return
        row = connection.execute(self._statements.deployment).fetchone()
        if row == (wanted,):
            return
        text = (
            "check the store's URL, because another deployment needs a schema of its own, by "
            "'?schema=NAME' at the end of it"
        )
        if row is not None:
            raise StoreSharedError(
                f"the store {self._name} is that of the deployment {row[0]!r}, and this broker is "
                f"one of {wanted!r}: {text}; or give all brokers the same deployment"
            )
        others = self._others(connection, writer)
        if names := sorted(each.name for each in others if each.joined and each.is_alive):
            raise StoreSharedError(
                f"the store {self._name} has brokers that were given no deployment "
                f"({', '.join(map(repr, names))}), and this broker is one of {wanted!r}: {text}; "
                "or stop those, and start them again with the same deployment"
            )
        connection.execute(self._statements.name_deployment, {"deployment": wanted})

    def _revision(self, core: CoreConnection) -> str:
        """Return the revision of the store, and note whether its brokers can go on beside this one.

        Another opening may have migrated it since the last look.
        """
        revision = revision_of(core, self._schema, self._name)
        assert revision is not None
        self._breaks = None if is_current(revision) or is_additive(revision) else revision
        return revision

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


def _driver_of(connection: CoreConnection) -> Connection:
    """Return the driver's connection, which is in the same transaction."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver
