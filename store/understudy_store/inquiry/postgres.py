"""Questions to a store over PostgreSQL.

A question is the query of a cursor, which may be nothing but a SELECT or VALUES, in a transaction
that only reads and has a time limit. Cells are cut by the server, so that a large one does not
come here. What functions of the server may do besides, the rights of the role decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import errors

from understudy_store.engines.postgres.address import parse
from understudy_store.inquiry.base import (
    CELL_CHARS_MAX,
    Answer,
    InquiryError,
    Rows,
    checked,
    checked_columns,
    too_slow,
)

#: rows that come at a time
_BATCH: Final = 100
#: oids of types: bytes; and those whose values are short
_BYTEA: Final = 17
_SHORT: Final = frozenset({16, 20, 21, 23, 26, 700, 701})


class PostgresInquirer:
    """Answers questions to the store of a URL.

    Parameters
    ----------
    url
        As for a broker. The role needs no right but to read the tables, and is no superuser.

    Raises
    ------
    StoreAddressError
        It is no URL of a store.
    """

    def __init__(self, url: str) -> None:
        self._address = parse(url)

    @property
    def name(self) -> str:
        """The database and the schema, without the password."""
        return self._address.name

    def ask(self, question: str) -> Answer:
        """Answer one statement that only reads, as of the moment in which it begins.

        Raises
        ------
        InquiryError
        """
        statement = checked(question)
        rows = Rows()
        with _explained(), self._connect() as connection:
            columns, kinds = _head(connection, statement)
            names = ", ".join(f"c{number}" for number in range(len(columns)))
            cells = ", ".join(f"{_shown(f'c{n}', kind)} as c{n}" for n, kind in enumerate(kinds))
            query = f"select {cells} from ({statement}\n) as question({names})"
            connection.execute(f"declare answer no scroll cursor for {query}", prepare=True)
            while rows.is_whole:
                left_ms = int(rows.left_s * 1000)
                if left_ms <= 0:
                    raise too_slow()
                connection.execute(f"set local statement_timeout = {left_ms}")
                batch = connection.execute(f"fetch {_BATCH} from answer").fetchall()
                if not batch or not all(rows.take(row) for row in batch):
                    break
            return rows.answer(columns)

    @contextmanager
    def _connect(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        connection = psycopg.connect(
            self._address.conninfo,
            autocommit=True,
            application_name="understudy ui",
            connect_timeout=2,
            # A standby does as well.
            target_session_attrs="any",
        )
        try:
            connection.execute(
                f"set search_path = {self._address.schema}, pg_catalog; "
                "set statement_timeout = 2000; set lock_timeout = 1000; "
                "set idle_in_transaction_session_timeout = 10000"
            )
            connection.execute("begin isolation level repeatable read read only")
            # After a first statement, no other one can make it a transaction that writes.
            _check_role(connection)
            yield connection
        finally:
            connection.close()


def _check_role(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Refuse a superuser, for whom a SELECT reads and writes files of the server."""
    found = connection.execute(
        "select rolname from pg_roles where rolsuper and rolname in (current_user, session_user)"
    ).fetchone()
    if found is not None:
        raise InquiryError(
            f"the role {found[0]!r} is a superuser, whose SELECT can write files of the server: "
            "give the dashboard a role that may only read, by --query or UNDERSTUDY_UI__QUERY"
        )


def _head(
    connection: psycopg.Connection[tuple[Any, ...]], statement: str
) -> tuple[tuple[str, ...], Sequence[int]]:
    """Return names and types of the columns. Prepared, because then it is one statement."""
    head = connection.execute(f"select * from ({statement}\n) as question limit 0", prepare=True)
    described = head.description or ()
    return checked_columns(each.name for each in described), [each.type_code for each in described]


def _shown(column: str, kind: int) -> str:
    """Return the expression for what is shown of a column."""
    if kind == _BYTEA:
        return f"'(' || to_char(octet_length({column}), 'FM999,999,999,990') || ' bytes)'"
    if kind in _SHORT:
        return column
    return f"left({column}::text, {CELL_CHARS_MAX + 1})"


@contextmanager
def _explained() -> Iterator[None]:
    """Say what the database has said, in words for whoever has asked."""
    try:
        yield
    except (errors.QueryCanceled, errors.LockNotAvailable):
        raise too_slow() from None
    except errors.ReadOnlySqlTransaction as error:
        text = error.diag.message_primary
        raise InquiryError(f"only reading is permitted here: {text}. Write a SELECT") from None
    except psycopg.OperationalError as error:
        if error.diag.message_primary is None:
            raise InquiryError(f"the database does not answer: {error}") from None
        raise InquiryError(error.diag.message_primary) from None
    except psycopg.Error as error:
        raise InquiryError(error.diag.message_primary or str(error)) from None
