"""The PostgreSQL engine: a schema of a database, and the fence that keeps other brokers away.

See the package for the theory of operation.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from threading import Lock
from typing import TypeVar

from understudy_store.changes import Changes, Snapshot
from understudy_store.commands import Reply
from understudy_store.engines.base import OPENING, Measures, Opening, Read
from understudy_store.engines.journaled.journaled_table import JournaledTable
from understudy_store.engines.postgres.address import parse
from understudy_store.engines.postgres.begun import BegunCommit, BegunFind, begin, begin_find
from understudy_store.engines.postgres.connections import Connection, Connector, Link
from understudy_store.engines.postgres.keeper import Keeper
from understudy_store.engines.postgres.log import HandOver, PostgresLog
from understudy_store.engines.postgres.opening import Opener
from understudy_store.engines.postgres.pulse import Pulse
from understudy_store.engines.postgres.statements import Statements
from understudy_store.engines.postgres.table import PostgresTable
from understudy_store.engines.postgres.takeover import give_orphans
from understudy_store.engines.postgres.writer import Writer, check_complete, resign
from understudy_store.errors import StoreError, StoreFencedError
from understudy_store.records import Row

T = TypeVar("T")


class PostgresEngine:
    """The engine over one schema of a PostgreSQL database.

    Parameters
    ----------
    url
        ``postgresql://user@host/database``; see `address.parse`. The schema is made if it does not
        exist.

    Raises
    ------
    StoreAddressError, StoreAccessError, StoreFormatError, StoreVersionError, StoreLockedError
        See their texts; the database is left as it was found.
    OpeningStoppedError
        As `opening` wishes.
    """

    def __init__(self, url: str, opening: Opening = OPENING) -> None:
        address = parse(url)
        self._name = address.name
        self._pid = os.getpid()
        self._closed = False
        self._connector = Connector(address, opening)
        self._statements = Statements(address.schema)
        self._writer: Writer = Opener(self._connector, self._statements, opening).open()
        self._on_failure: Callable[[StoreError], None] | None = None
        self._failure_lock = Lock()
        self._log = PostgresLog(self._connector, self._statements, self._writer)
        self._table = PostgresTable(
            self._connector,
            self._statements,
            self._writer,
            self._check,
            self._acknowledged,
            shared=opening.share is not None,
        )
        parts = self._connector, self._statements, self._writer, self._check, self._acknowledged
        #: of a store that is shared; None: this broker has it alone
        self.keeper = None if opening.share is None else Keeper(*parts, opening.tell)
        self._pulse = self.keeper or Pulse(*parts)
        #: public for tests, which make it wait and look at its locks
        self.journaled = JournaledTable(self._log, self._table, self._name, _nothing)

    @property
    def description(self) -> str:
        return f"{self._name} (journal, writer {self._writer.id})"

    @property
    def inline(self) -> bool:
        return False

    @property
    def writer(self) -> int:
        """The number of this start, the epoch of its commits."""
        return self._writer.id

    def load(self) -> Snapshot:
        return self.journaled.load() if self.keeper is None else self._table.load_none()

    def load_slots(self, slots: Collection[int]) -> Snapshot:
        """See `SharedEngine`."""
        self.journaled.forget(slots)
        return self._table.load_slots(slots)

    def hand_over(self, slots: Mapping[int, int], *, leaving: bool = False) -> HandOver:
        """See `SharedEngine`."""
        return self.journaled.give_away(slots, lambda: self._log.hand_over(slots, leaving=leaving))

    @property
    def identity(self) -> str:
        """See `SharedEngine`."""
        row = _once(self._connector, lambda c: c.execute(self._statements.identity).fetchone())
        assert row is not None
        return str(row[0])

    def fact(self, key: str) -> str | None:
        wanted = {"key": key}
        row = _once(self._connector, lambda c: c.execute(self._statements.fact, wanted).fetchone())
        return None if row is None else str(row[0])

    def put_fact(self, key: str, text: str) -> None:
        values = {"key": key, "text": text}
        _once(self._connector, lambda c: c.execute(self._statements.put_fact, values))

    def find(self, ids: Collection[str]) -> list[Row]:
        return self.journaled.find(ids)

    def find_known(self, ids: Collection[str]) -> list[Row] | None:
        """See `RemoteEngine`."""
        return self.journaled.view.find_known(ids)

    def begin_find(self, ids: Collection[str]) -> BegunFind | None:
        """See `RemoteEngine`."""
        return begin_find(self.journaled.view, self._table.first_id, ids)

    def begin(self, changes: Changes, epoch: int) -> BegunCommit | None:
        """See `RemoteEngine`."""
        if epoch != self._writer.id:
            return None
        return begin(self.journaled, self._log, changes)

    def commit(self, changes: Changes, reads: Sequence[Read], epoch: int) -> list[Reply]:
        if epoch != self._writer.id:
            raise StoreFencedError(
                f"a commit of epoch {epoch} came to a store of epoch {self._writer.id}"
            )
        return self.journaled.commit(changes, reads)

    def search(self, read: Read, time_limit_s: float) -> Reply:
        return self.journaled.searcher.search(read, time_limit_s)

    def measures(self) -> Measures:
        return Measures(lag_s=self.journaled.view.lag_s(time.monotonic()))

    def watch(self, on_failure: Callable[[StoreError], None]) -> None:
        self._on_failure = on_failure
        self.journaled.watch(self._failed)
        self._pulse.watch(self._failed)

    def _failed(self, error: StoreError) -> None:
        """Tell the owner, once, whichever thread fails first."""
        with self._failure_lock:
            on_failure, self._on_failure = self._on_failure, None
        if on_failure is not None:
            on_failure(error)

    def stop_waiting(self) -> None:
        self._connector.stop_waiting()
        self._table.stop_searching()

    def close(self) -> None:
        # A forked child has no part in its parent's store.
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        self.stop_waiting()
        with ExitStack() as stack:
            stack.callback(self._table.close)
            stack.callback(self._log.close)
            complete = self.journaled.close()
            self._pulse.close()
            # With commits left in the journal, the next start takes over as from a broker that was
            # killed.
            if complete and self.journaled.failure is None:
                with suppress(StoreError):
                    self._resign()

    def _resign(self) -> None:
        link = Link(self._connector, _nothing_with)
        try:
            link.run(self._resigning)
        finally:
            link.close()

    def _resigning(self, connection: Connection) -> None:
        with connection.transaction():
            resign(connection, self._statements, self._writer)
            if self.keeper is not None:
                # What this broker still has goes to those that live.
                give_orphans(connection, self._statements)

    def _acknowledged(self) -> int:
        return self._log.acknowledged

    def _check(self, connection: Connection) -> None:
        check_complete(connection, self._statements, self._writer, self._log.acknowledged)


def _once(connector: Connector, act: Callable[[Connection], T]) -> T:
    """Call `act` with a connection of its own."""
    link = Link(connector, _nothing_with)
    try:
        return link.run(act)
    finally:
        link.close()


def _nothing() -> None:
    """Do nothing."""


def _nothing_with(_: Connection) -> None:
    """Do nothing."""
