"""The journal of a PostgreSQL store: a table with one row for each commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from psycopg import Error
from psycopg.errors import UniqueViolation

from understudy_store.engines.postgres.connections import Connection, Connector, Link
from understudy_store.engines.postgres.holdings import read_holdings
from understudy_store.engines.postgres.packing import packed
from understudy_store.engines.postgres.prepared import Prepared, Type, int8
from understudy_store.engines.postgres.statements import Statements
from understudy_store.engines.postgres.writer import Writer, next_session, refusal
from understudy_store.engines.shared import Holdings

#: Bytes of commits between two writes to the tables. It bounds what the memtables hold, and what a
#: takeover has to bring in.
HALF_BYTES: Final = 32 * 1024 * 1024
#: Larger commits go to the tables at once.
RECORD_BYTES_MAX: Final = 4 * 1024 * 1024
#: Larger ones are not packed on a thread that must not wait.
BEGUN_BYTES_MAX: Final = 32 * 1024


class HandOver(NamedTuple):
    """The end of a hand-over: the holdings some time after it, and the slots that have left."""

    holdings: Holdings
    gone: frozenset[int]


class PostgresLog:
    """The journal of one writer: a `Log` whose halves are a bound and no place.

    Attributes
    ----------
    number
        Of the last commit.
    acknowledged
        Of the last commit that the database has acknowledged here.
    """

    def __init__(self, connector: Connector, statements: Statements, writer: Writer) -> None:
        self._statements = statements
        self._writer = writer
        self._link = Link(connector, self._begin_session)
        self._session = writer.session
        #: the last commit that the database had when the session began
        self._found = 0
        #: over the connection of the session; None: there has been none yet
        self._commit: Prepared | None = None
        self._bytes = 0
        self.number = 0
        self.acknowledged = 0

    @property
    def has_room(self) -> bool:
        """True if any record that the log takes has room in this half."""
        return self._bytes + RECORD_BYTES_MAX <= HALF_BYTES

    def takes(self, data: bytes) -> bool:
        """Return whether a record can hold `data` at all."""
        return len(data) <= RECORD_BYTES_MAX

    def fits(self, data: bytes) -> bool:
        """Return whether a record of `data` has room in this half."""
        return self.takes(data) and self._bytes + len(data) <= HALF_BYTES

    def append(self, data: bytes) -> None:
        """Write a record with the next number, durable on return.

        If the connection is lost, it is unknown whether the record was written. A new session
        makes that final: the record is there, or can come from nowhere any more and is sent again.

        Raises
        ------
        StoreFencedError
            Another broker has taken over; nothing was written.
        StoreRolledBackError
            The database lacks commits that it had acknowledged.
        StoreError
        """
        packed_data = packed(data)

        def act(connection: Connection) -> None:
            assert self._commit is not None
            number = self.number + 1
            if self._found >= number:
                return
            # It may have been sent already, by `begin`.
            if not self._commit.is_under_way:
                self._send(self._commit, number, packed_data)
            self._commit.wait()
            if not _is_written(self._commit):
                raise refusal(connection, self._statements, self._writer, self.number)

        self._link.run(act)
        self._appended(data)

    def begin(self, data: bytes) -> int | None:
        """Send a record with the next number, and wait for nothing. It `fits`.

        Then `advance` until it is written, or `append` the same record.

        Returns
        -------
        A descriptor that becomes readable when there is news. None: `append` it; it is large, or
        the connection is not there or does not take it.
        """
        if self._commit is None or len(data) > BEGUN_BYTES_MAX:
            return None
        number = self.number + 1
        try:
            all_sent = self._send(self._commit, number, packed(data))
        except Error:
            return None
        return self._commit.descriptor if all_sent else None

    def advance(self, data: bytes) -> bool | None:
        """Look whether the record that was sent is written, without waiting.

        Returns
        -------
        True: it is, durably. False: that is not known yet. None: `append` it, which finds out what
        has become of it.
        """
        assert self._commit is not None
        try:
            if not self._commit.advance():
                return False
            written = _is_written(self._commit)
        except Error:
            return None
        if not written:
            return None
        self._appended(data)
        return True

    def _send(self, commit: Prepared, number: int, data: bytes) -> bool:
        return commit.send(int8(self._writer.id), int8(self._session), int8(number), data)

    def _appended(self, data: bytes) -> None:
        self.number = self.acknowledged = self.number + 1
        self._bytes += len(data)

    def hand_over(self, slots: Mapping[int, int], *, leaving: bool) -> HandOver:
        """Give slots to other writers; the tables have every commit to them.

        If the connection is lost, it is unknown whether they are given. A new session makes that
        final, as it does for a commit; then the epochs tell which ones have left. Whose slot it is
        now does not tell that: it may have come back already.

        Parameters
        ----------
        leaving
            Nobody gives slots to this writer any more.
        """
        texts, keys = self._statements, self._writer.keys
        rows = self._link.run(lambda connection: connection.execute(texts.epochs, keys).fetchall())
        mine = {slot: epoch for slot, epoch in rows if slot in slots}

        def act(connection: Connection) -> HandOver:
            self._hand_over(connection, slots, mine, leaving=leaving)
            holdings, epochs = read_holdings(connection, texts)
            return HandOver(
                holdings, frozenset(slot for slot, epoch in mine.items() if epochs[slot] != epoch)
            )

        return self._link.run(act)

    def _hand_over(
        self,
        connection: Connection,
        slots: Mapping[int, int],
        mine: Mapping[int, int],
        *,
        leaving: bool = False,
    ) -> None:
        """Try to give the slots that are `mine`, with their epochs."""
        texts = self._statements
        with connection.transaction():
            keys = {"writer": self._writer.id, "session": self._session}
            if connection.execute(texts.unfenced_session, keys).fetchone() is None:
                raise refusal(connection, texts, self._writer, self.number)
            if leaving:
                connection.execute(texts.leave, keys)
            living = {id_ for id_, _ in connection.execute(texts.receivers)}
            given = sorted(slot for slot in mine if slots[slot] in living)
            moves = {
                "slots": given,
                "epochs": [mine[slot] for slot in given],
                "writers": [slots[slot] for slot in given],
            }
            connection.execute(texts.hand_over, {**keys, **moves})

    def skip(self) -> None:
        """Count a commit that goes straight to the tables, which have all before it."""
        self.number += 1

    def switch(self) -> None:
        """Begin the other half."""
        self._bytes = 0

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def _begin_session(self, connection: Connection) -> None:
        types = [Type.INT8, Type.INT8, Type.INT8, Type.BYTEA]
        self._commit = Prepared(connection, "understudy_commit", self._statements.commit, types)
        self._session, self._found = next_session(
            connection, self._statements, self._writer, self.number
        )


def _is_written(commit: Prepared) -> bool:
    """Return whether the row of a commit is there, by the attempt that is done or an earlier one.

    Raises
    ------
    psycopg.Error
    """
    try:
        return commit.rows_written == 1
    except UniqueViolation:
        return True
