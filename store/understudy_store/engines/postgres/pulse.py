"""The pulse: a sign of life in the database, by which another broker knows not to take over.

The fence does not depend on it. A pulse that comes late costs the store to nobody but its owner.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from threading import Event, Thread
from typing import Final

from understudy_store.engines.postgres.connections import Connection, Connector, Link
from understudy_store.engines.postgres.statements import Statements
from understudy_store.engines.postgres.writer import LEASE_S, Writer, refusal
from understudy_store.errors import StoreError

#: from one beat to the next
BEAT_S: Final = LEASE_S / 4


class Pulse:
    """Beats on a thread of its own, over a connection of its own, until it is closed.

    It is also how a broker learns soon that it was fenced, if it writes nothing.

    Parameters
    ----------
    check
        Checks that a new connection leads to the database with every commit; None: there are none.
    acknowledged
        Returns the number of the last commit that the database has acknowledged.
    patience_s
        How long a beat waits for a database that is away: a broker that has nothing to write does
        not mind.
    """

    def __init__(
        self,
        connector: Connector,
        statements: Statements,
        writer: Writer,
        check: Callable[[Connection], object] | None = None,
        acknowledged: Callable[[], int] = int,
        patience_s: float = math.inf,
    ) -> None:
        self._statements = statements
        self._writer = writer
        self._acknowledged = acknowledged
        self._link = Link(connector, check or _no_check, patience_s)
        self._closed = Event()
        self._failure: StoreError | None = None
        self._on_failure: Callable[[StoreError], None] = _ignore
        self._thread = Thread(target=self._run, name="understudy-store-pulse", daemon=True)
        self._thread.start()

    def watch(self, on_failure: Callable[[StoreError], None]) -> None:
        """Call `on_failure`, on the pulse's thread, if the writer is fenced, or was."""
        self._on_failure = on_failure
        if self._failure is not None:
            on_failure(self._failure)

    def close(self) -> None:
        """End the thread. The pulse stays as it was last."""
        self._closed.set()
        self._thread.join()
        self._link.close()

    def _run(self) -> None:
        try:
            while not self._closed.wait(BEAT_S):
                self._link.run(self._beat)
        except StoreError as error:
            self._failure = error
            if not self._closed.is_set():
                self._on_failure(error)

    def _beat(self, connection: Connection) -> None:
        acknowledged = self._acknowledged()
        if connection.execute(self._statements.beat, self._writer.keys).rowcount != 1:
            raise refusal(connection, self._statements, self._writer, acknowledged)


def _no_check(_: Connection) -> None:
    """Do nothing."""


def _ignore(_: StoreError) -> None:
    """Do nothing."""
