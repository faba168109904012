"""Finds and commits of the PostgreSQL engine that no thread waits for: each is a `remote.Begun`."""

from __future__ import annotations

from collections.abc import Collection

from understudy_store.changes import Changes
from understudy_store.commands import Reply
from understudy_store.engines.journaled.journaled_table import JournaledTable
from understudy_store.engines.journaled.view import Look, View
from understudy_store.engines.postgres.first_id import FirstId
from understudy_store.engines.postgres.log import PostgresLog
from understudy_store.records import Row


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
        self.result: list[Reply] = []

    def advance(self) -> bool | None:
        """See `remote.Begun`."""
        written = self._log.advance(self._data)
        if written:
            with self._journaled.ending(self._changes):
                pass
        return written

    def complete(self) -> list[Reply]:
        """See `remote.Begun`."""
        with self._journaled.ending(self._changes):
            self._log.append(self._data)
        return self.result


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


class BegunFind:
    """A look for the one id that memory does not know. Until its end, nothing else is found.

    Parameters
    ----------
    look
        What `view` has seen before the question was sent.
    descriptor
        Of the connection over which it was sent.
    """

    def __init__(self, view: View, first_id: FirstId, look: Look, descriptor: int) -> None:
        self._view = view
        self._first_id = first_id
        self._look = look
        self.descriptor = descriptor
        self.result: list[Row] = []

    def advance(self) -> bool | None:
        """See `remote.Begun`."""
        answered = self._first_id.advance()
        if not answered:
            return answered
        found = self._view.conclude(self._look, self._first_id.value)
        if found is None:
            return None
        self.result = found
        return True

    def complete(self) -> list[Row]:
        """See `remote.Begun`."""
        self._first_id.give_up()
        return self._view.find(self._look.ids)


def begin_find(view: View, first_id: FirstId, ids: Collection[str]) -> BegunFind | None:
    """Begin a find without waiting; None if that cannot be, and nothing was begun."""
    look = view.look(ids)
    if not look.is_single:
        return None
    descriptor = first_id.begin(look.elsewhere[0])
    return None if descriptor is None else BegunFind(view, first_id, look, descriptor)
