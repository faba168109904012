"""A prepared statement over one connection, by libpq's functions, which the driver passes on.

They take a few microseconds, and can be used without waiting. What the driver's `execute` does on
top, which statements that are always the same have no use for, takes half as long as a whole round
trip.
"""

from __future__ import annotations

import select
from collections.abc import Sequence
from enum import IntEnum

from psycopg import OperationalError
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.pq.abc import PGresult

from understudy_store.engines.postgres.connections import Connection


class Type(IntEnum):
    """The server's numbers of the types of parameters. They are given in binary form."""

    INT8 = 20
    BYTEA = 17
    TEXT = 25


class Prepared:
    """A statement that is performed once at a time: `send`, then `advance` or `wait`.

    Parameters
    ----------
    name
        Of the statement, which no other one of the connection has.
    text
        With the parameters ``$1``, ``$2`` and so on.

    Raises
    ------
    psycopg.Error

    Attributes
    ----------
    is_under_way
        It was sent, and is not known to be done.
    """

    def __init__(self, connection: Connection, name: str, text: str, types: Sequence[Type]) -> None:
        self._pgconn = connection.pgconn
        self._name = name.encode()
        self._formats = [Format.BINARY] * len(types)
        self.is_under_way = False
        #: its results so far
        self._results: list[PGresult] = []
        self._check(self._pgconn.prepare(self._name, text.encode(), types))

    @property
    def descriptor(self) -> int:
        """Becomes readable when `advance` may have news."""
        return self._pgconn.socket

    def send(self, *values: bytes) -> bool:
        """Send the values of the parameters, without waiting; return False if not all was sent.

        Raises
        ------
        psycopg.OperationalError
            The connection is lost.
        """
        self._results.clear()
        self._pgconn.send_query_prepared(self._name, values, self._formats)
        self.is_under_way = True
        return self._pgconn.flush() == 0

    def advance(self) -> bool:
        """Take what has come, without waiting; return True once nothing more will come.

        The server commits after it has given the result of a statement, and may still fail then. So
        it is done when the server is ready for another statement, and no sooner.

        Raises
        ------
        psycopg.OperationalError
            The connection is lost.
        """
        self._pgconn.consume_input()
        while not self._pgconn.is_busy():
            result = self._pgconn.get_result()
            if result is None:
                self.is_under_way = False
                return True
            self._results.append(result)
        return False

    def wait(self) -> None:
        """Return once it is done.

        The driver's own functions that wait for a result keep the interpreter to themselves.

        Raises
        ------
        psycopg.OperationalError
            The connection is lost.
        """
        while not self.advance():
            events = select.POLLIN | (select.POLLOUT if self._pgconn.flush() else 0)
            poll = select.poll()
            poll.register(self._pgconn.socket, events)
            poll.poll()

    @property
    def rows_written(self) -> int:
        """The number of rows that it has written, once it is done.

        Raises
        ------
        psycopg.Error
            The server has refused it.
        """
        return self._result().command_tuples or 0

    @property
    def value(self) -> str | None:
        """The text in the only column of its only row, once it is done.

        Raises
        ------
        psycopg.Error
            The server has refused it.
        """
        data = self._result().get_value(0, 0)
        return None if data is None else data.decode()

    def _result(self) -> PGresult:
        for result in self._results:
            self._check(result)
        [result] = self._results
        return result

    def _check(self, result: PGresult) -> None:
        if result.status in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
            return
        if self._pgconn.status != ConnStatus.OK:
            raise OperationalError(result.get_error_message())
        raise error_from_result(result)


def int8(number: int) -> bytes:
    """Return the binary form of an INT8."""
    return number.to_bytes(8, "big", signed=True)
