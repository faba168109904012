"""The statement of a commit over one connection, by libpq's functions, which the driver passes on.

They take a few microseconds, and can be used without waiting. What the driver's `execute` does on
top, which a commit has no use for, takes half as long as the whole round trip.
"""

from __future__ import annotations

import select
from typing import Final

from psycopg import OperationalError
from psycopg.errors import UniqueViolation, error_from_result
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.pq.abc import PGresult

from understudy_store.engines.postgres.connections import Connection

_NAME: Final = b"understudy_commit"
_INT8: Final = 20
_BYTEA: Final = 17
#: of the parameters: the writer's id, its session, the number of the commit, its record
_TYPES: Final = (_INT8, _INT8, _INT8, _BYTEA)
_FORMATS: Final = (Format.BINARY,) * len(_TYPES)


class PreparedCommit:
    """Commits over one connection, one at a time: `run`, or `send` and `advance` and `run`.

    Parameters
    ----------
    text
        The statement, with the parameters ``$1`` to ``$4``. It inserts one row, or none.

    Raises
    ------
    psycopg.Error
    """

    def __init__(self, connection: Connection, text: str) -> None:
        self._pgconn = connection.pgconn
        #: what was sent, and is not known to be done
        self._is_under_way = False
        #: its results so far
        self._results: list[PGresult] = []
        self._check(self._pgconn.prepare(_NAME, text.encode(), _TYPES))

    @property
    def descriptor(self) -> int:
        """Becomes readable when `advance` may have news."""
        return self._pgconn.socket

    def send(self, writer: int, session: int, number: int, data: bytes) -> bool:
        """Send a commit without waiting; return False if not all of it could be sent.

        Raises
        ------
        psycopg.OperationalError
            The connection is lost.
        """
        self._results.clear()
        values = _int8(writer), _int8(session), _int8(number), data
        self._pgconn.send_query_prepared(_NAME, values, _FORMATS)
        self._is_under_way = True
        return self._pgconn.flush() == 0

    def advance(self) -> bool:
        """Take what has come, without waiting; return True once nothing more will come.

        The server commits after it has given the result of the statement, and may still fail then.
        So the commit is done when the server is ready for another statement, and no sooner.

        Raises
        ------
        psycopg.OperationalError
            The connection is lost.
        """
        self._pgconn.consume_input()
        while not self._pgconn.is_busy():
            result = self._pgconn.get_result()
            if result is None:
                self._is_under_way = False
                return True
            self._results.append(result)
        return False

    def run(self, writer: int, session: int, number: int, data: bytes) -> bool:
        """Wait for the end of a commit, of that which was sent before or of this one.

        Returns
        -------
        True: the row is there, by this attempt or by an earlier one. False: it was not inserted.

        Raises
        ------
        psycopg.Error
        """
        if not self._is_under_way:
            self.send(writer, session, number, data)
        while not self.advance():
            self._wait()
        return self.is_written()

    def _wait(self) -> None:
        """Sleep until the connection has news, or takes more of what is to be sent.

        The driver's own functions that wait for a result keep the interpreter to themselves.
        """
        events = select.POLLIN | (select.POLLOUT if self._pgconn.flush() else 0)
        poll = select.poll()
        poll.register(self._pgconn.socket, events)
        poll.poll()

    def is_written(self) -> bool:
        """Return what `run` does, of a commit that is not under way any more.

        Raises
        ------
        psycopg.Error
        """
        try:
            for result in self._results:
                self._check(result)
        except UniqueViolation:
            return True
        return [result.command_tuples for result in self._results] == [1]

    def _check(self, result: PGresult) -> None:
        if result.status == ExecStatus.COMMAND_OK:
            return
        if self._pgconn.status != ConnStatus.OK:
            raise OperationalError(result.get_error_message())
        raise error_from_result(result)


def _int8(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)
