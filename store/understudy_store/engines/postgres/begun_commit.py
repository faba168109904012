"""A commit of the PostgreSQL engine that no thread waits for: a `BegunCommit`."""

from __future__ import annotations

from understudy_store.changes import Changes
from understudy_store.engines.journaled.journaled_table import JournaledTable
from understudy_store.engines.postgres.log import PostgresLog


class BegunCommit:
    """A record that is on its way to the journal. Until its end, nothing else is committed.

    Parameters
    ----------
    data
        The record of `changes`.
    descriptor
        Of the connection over which it was sent.
    """

    def __init__(
        self,
        journaled: JournaledTable,
        log: PostgresLog,
        changes: Changes,
        data: bytes,
        descriptor: int,
    ) -> None:
        self._journaled = journaled
        self._log = log
        self._changes = changes
        self._data = data
        self.descriptor = descriptor

    def advance(self) -> bool | None:
        """See `remote.BegunCommit`."""
        written = self._log.advance(self._data)
        if written:
            with self._journaled.ending(self._changes):
                pass
        return written

    def complete(self) -> None:
        """See `remote.BegunCommit`."""
        with self._journaled.ending(self._changes):
            self._log.append(self._data)


def begin(journaled: JournaledTable, log: PostgresLog, changes: Changes) -> BegunCommit | None:
    """Begin a commit without waiting; None if that cannot be, and nothing was begun."""
    record = b""

    def send(data: bytes) -> int | None:
        nonlocal record
        record = data
        return log.begin(data)

    descriptor = journaled.begin(changes, send)
    if descriptor is None:
        return None
    return BegunCommit(journaled, log, changes, record, descriptor)
