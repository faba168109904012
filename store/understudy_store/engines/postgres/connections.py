"""Connections to the database: how they are made, and made again when they are lost.

A connection may be lost at any moment: the server restarts, a standby takes its place, or somebody
ends the session. Whoever uses one hands its work to a `Link` as a function, which is called again
over a new connection. So the work must be such that a second time does no harm; what that takes in
each case is said where the work is. Each new connection is looked over before it is used
(`Link.on_connect`), because the server that answers now may be another one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event, Lock
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

from understudy_store.engines.base import Opening
from understudy_store.engines.postgres import advice
from understudy_store.engines.postgres.address import (
    KEEPALIVE_COUNT,
    KEEPALIVE_IDLE_S,
    KEEPALIVE_INTERVAL_S,
    Address,
)
from understudy_store.errors import StoreDatabaseError

# The driver logs what it cannot undo over a lost connection, which nobody needs to know. Without a
# handler this would go to the standard error, between the lines of the broker's log.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

T = TypeVar("T")
Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

#: how long calls wait for a database that is away, before the store fails
PATIENCE_S: Final = 60.0
#: the same once the store is to be closed
PATIENCE_AT_CLOSE_S: Final = 5.0
#: from one attempt to connect to the next: doubled from the first to the second
PAUSE_MIN_S: Final = 0.02
PAUSE_MAX_S: Final = 1.0
#: how often the owner is told, while the database is away
TELL_S: Final = 30.0
#: Two transactions were in each other's way, and the server has undone one: it is done again.
_CONFLICTS: Final = frozenset({"40001", "40P01"})
#: The session is gone, or the server takes none at the moment. Or it takes no writes any more: then
#: a new session finds the server that does, and waits until there is one.
_LOST: Final = ("08", "57P", "53300", "25006")
#: What the engine relies on, whatever the defaults of the role and the database are. Statements
#: find their rows by a key or in the order of an index. But the plan of a prepared one is made
#: once, maybe while the table is so small that reading all of it is quicker, and then kept.
_SETTINGS: Final = (
    "set default_transaction_isolation = 'read committed'; set statement_timeout = 0; "
    "set lock_timeout = 0; set idle_in_transaction_session_timeout = 0; "
    "set idle_session_timeout = 0; "
    # A client that is gone without a word keeps its locks for no longer than this. It finds out as
    # soon about the server, by the same settings in `address`.
    f"set tcp_keepalives_idle = {KEEPALIVE_IDLE_S}; "
    f"set tcp_keepalives_interval = {KEEPALIVE_INTERVAL_S}; "
    f"set tcp_keepalives_count = {KEEPALIVE_COUNT}; "
    "set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off"
)
#: what keeps a database from being used, and what to do, if it does not answer
_AWAY: Final = ("been away", advice.AWAY)


class Connector:
    """Makes the connections of one store, and bounds how long its calls wait for the database.

    Parameters
    ----------
    address
        Of the database.
    opening
        Its `tell` is called when the database is away, while it stays away, and when it is back.
    """

    def __init__(self, address: Address, opening: Opening) -> None:
        self.address = address
        #: shown by the server; a broker that takes over ends the connections of this name
        self.application_name = "understudy"
        self._tell = opening.tell
        self._lock = Lock()
        self._told_at: float | None = None
        self._away_since: float | None = None
        self._until: float | None = None
        self._stopped = Event()

    def open(self, *, autocommit: bool = True) -> Connection:
        """Return a new connection with the settings that the engine relies on.

        Raises
        ------
        psycopg.OperationalError
        """
        connection = psycopg.connect(
            self.address.conninfo,
            autocommit=True,
            application_name=self.application_name,
        )
        try:
            # Several statements go in one round trip, which is why these are not parameters.
            connection.execute(_SETTINGS)
            # Only what says so is prepared.
            connection.prepare_threshold = None
            connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            connection.autocommit = autocommit
        except BaseException:
            connection.close()
            raise
        return connection

    def stop_waiting(self) -> None:
        """Wait no longer than `PATIENCE_AT_CLOSE_S` from now on; from any thread."""
        with self._lock:
            if self._until is None:
                self._until = time.monotonic() + PATIENCE_AT_CLOSE_S
        self._stopped.set()

    def wait(self, since: float, pause_s: float, error: psycopg.Error, patience_s: float) -> None:
        """Wait before the next attempt of a call whose connection was lost at `since`.

        Raises
        ------
        StoreError
            It has waited long enough.
        """
        now = time.monotonic()
        with self._lock:
            if now - since >= patience_s or (self._until is not None and now >= self._until):
                raise StoreDatabaseError(self._said(now - since, error, advises=True))
            self._away_since = min(since, self._away_since or since)
            # The first attempts often succeed, as when one session was ended.
            is_told = now - since >= PAUSE_MAX_S and (
                self._told_at is None or now - self._told_at >= TELL_S
            )
            if is_told:
                self._told_at = now
        if is_told:
            said = self._said(now - since, error)
            self._tell(f"{said}. Commits wait for it up to {PATIENCE_S:.0f} s")
        if self._stopped.is_set():
            time.sleep(pause_s)
        else:
            self._stopped.wait(pause_s)

    def _said(self, away_s: float, error: psycopg.Error, *, advises: bool = False) -> str:
        """Return for how long which trouble has lasted, and why; and perhaps what to do."""
        # At the end nobody waits for one more answer.
        is_asked = not self._stopped.is_set()
        trouble, what = trouble_of(self.address.conninfo, error) if is_asked else _AWAY
        text = f"the database {self.address.name} has {trouble} for {away_s:.0f} s"
        more = f". {what}" if advises else ""
        return f"{text}: {message_of(error)}{more}"

    def is_back(self) -> None:
        """Note that a call has got through after it had waited."""
        with self._lock:
            since, told_at = self._away_since, self._told_at
            self._away_since = self._told_at = None
        if told_at is not None and since is not None:
            away_s = time.monotonic() - since
            self._tell(f"the database {self.address.name} is back, after {away_s:.0f} s")


class Link:
    """A connection that is made again when it is lost. For one thread at a time.

    Parameters
    ----------
    on_connect
        Called with each new connection before anything else. Whatever it raises ends the call.
    patience_s
        How long a call waits for a database that is away.
    """

    def __init__(
        self,
        connector: Connector,
        on_connect: Callable[[Connection], object],
        patience_s: float | None = None,
    ) -> None:
        self._connector = connector
        self._on_connect = on_connect
        self._patience_s = patience_s
        self._connection: Connection | None = None

    def run(self, act: Callable[[Connection], T]) -> T:
        """Call `act` with the connection, again and again if the connection is lost meanwhile.

        Raises
        ------
        StoreError
            The database refuses what `act` wants, or stays away. The text has nothing of the
            statement or its values, because these are users' data.
        """
        lost_at: float | None = None
        pause_s = PAUSE_MIN_S
        while True:
            try:
                result = act(self._connected())
            except psycopg.Error as error:
                if error.sqlstate not in _CONFLICTS:
                    if not self._is_lost(error):
                        raise plain(error) from None
                    self.close()
                lost_at = lost_at or time.monotonic()
                patience_s = PATIENCE_S if self._patience_s is None else self._patience_s
                self._connector.wait(lost_at, pause_s, error, patience_s)
                pause_s = min(2 * pause_s, PAUSE_MAX_S)
            else:
                if lost_at is not None:
                    self._connector.is_back()
                return result

    def close(self) -> None:
        """Close the connection; the next `run` makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = self._connector.open()
            try:
                self._on_connect(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _is_lost(self, error: psycopg.Error) -> bool:
        """Return whether the connection is gone, or could not be made."""
        gone = self._connection is not None and self._connection.closed
        return gone or means_lost(error)


def means_lost(error: psycopg.Error) -> bool:
    """Return whether an error says that a connection is gone or of no use, or could not be made."""
    if error.sqlstate is None:  # the driver's own words; others are about values, for example
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate.startswith(_LOST)


def trouble_of(conninfo: str, error: psycopg.Error) -> tuple[str, str]:
    """Return what keeps a database from being used, after "has", and what to do about it.

    It asks the server, because libpq does not say why a connection could not be made.
    """
    if error.sqlstate is not None and not means_lost(error):
        return "refused this", advice.advice_for(error.sqlstate)
    if PGconn.ping(conninfo.encode()) != Ping.OK:
        return _AWAY
    if advice.means_full(message_of(error)):
        return "had no connection left", advice.FULL
    # Without the wish for one that accepts writes: is it there, then, as a standby?
    anyhow = make_conninfo(conninfo, target_session_attrs="any")
    try:
        with psycopg.connect(anyhow, autocommit=True) as connection:
            row = connection.execute("show transaction_read_only").fetchone()
    except psycopg.Error:
        return "refused connections", advice.REFUSED
    return ("taken no writes", advice.READ_ONLY) if row == ("on",) else _AWAY


def plain(error: psycopg.Error) -> StoreDatabaseError:
    """Return the server's words, and what to do; nothing of the statement and its values."""
    code = f" ({error.sqlstate})" if error.sqlstate else ""
    what = advice.advice_for(error.sqlstate)
    return StoreDatabaseError(f"the database: {message_of(error)}{code}. {what}")


def message_of(error: psycopg.Error) -> str:
    """Return what the server or libpq said, on one line."""
    text = error.diag.message_primary or str(error) or type(error).__name__
    return " ".join(text.split())
