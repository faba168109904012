"""Questions to the file of a store, which a broker may have open.

The file is opened for reading, SQLite refuses what is not a read while it compiles the statement
(its authorizer), and counts instructions to look at the clock. Each question has a connection of
its own, so that none finds what another one has left.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from understudy_store.engines.sql.tables import APPLICATION_ID
from understudy_store.engines.sqlite.files import resolved
from understudy_store.inquiry.base import (
    CELL_CHARS_MAX,
    Answer,
    InquiryError,
    Rows,
    checked,
    checked_columns,
    too_slow,
)

#: what a statement may do; everything else is refused, such as ATTACH, PRAGMA and writes
_PERMITTED: Final = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)
_REFUSED_FUNCTIONS: Final = frozenset({"load_extension", "fts3_tokenizer"})
#: instructions of SQLite's machine between two looks at the clock
_LOOK_AFTER: Final = 10_000
#: how long it waits for a lock of another program
_BUSY_S: Final = 1.0
#: bytes of a text or of a row, so that no function makes larger ones
_VALUE_BYTES_MAX: Final = 64 * 1024 * 1024
#: bytes that SQLite may have in memory in this process
_MEMORY_BYTES_MAX: Final = 512 * 1024 * 1024
_LIMITS: Final = (
    (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
    (sqlite3.SQLITE_LIMIT_LENGTH, _VALUE_BYTES_MAX),
    # A pattern of many wildcards takes very long over one text, and the clock is not looked at.
    (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100),
)


class SqliteInquirer:
    """Answers questions to the file at `path`, which need not be there yet."""

    def __init__(self, path: Path) -> None:
        self._path = resolved(path)

    @property
    def name(self) -> str:
        """The path of the file."""
        return str(self._path)

    def ask(self, question: str) -> Answer:
        """Answer one statement that only reads, as of the moment in which it begins.

        Raises
        ------
        InquiryError
            The question cannot be answered; or there is no file, or it is no store.
        """
        statement = checked(question)
        # The file is not opened to look at it: closing it would end the locks that other
        # connections of this process have on it.
        if not self._path.is_file():
            raise InquiryError(f"there is no store {self._path} (yet)")
        rows = Rows()
        with _explained(rows), closing(self._connect(rows)) as connection:
            with closing(connection.execute(statement)) as cursor:
                columns = checked_columns(each[0] for each in cursor.description or ())
                for row in cursor:
                    if not rows.take(row):
                        break
            return rows.answer(columns)

    def _connect(self, rows: Rows) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self._path))}?mode=ro",
            uri=True,
            timeout=_BUSY_S,
            isolation_level=None,
        )
        try:
            for limit, number in _LIMITS:
                connection.setlimit(limit, number)
            if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
                raise InquiryError(f"{self._path} is an SQLite database, but no store")
            connection.execute("PRAGMA query_only=ON")
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute(f"PRAGMA hard_heap_limit={_MEMORY_BYTES_MAX}")
            connection.text_factory = _text
            connection.set_authorizer(_authorize)
            connection.set_progress_handler(lambda: rows.left_s < 0, _LOOK_AFTER)
        except BaseException:
            connection.close()
            raise
        return connection


def _authorize(
    action: int, _one: str | None, other: str | None, _database: str | None, _by: str | None
) -> int:
    is_refused = action == sqlite3.SQLITE_FUNCTION and (other or "").lower() in _REFUSED_FUNCTIONS
    is_permitted = action in _PERMITTED and not is_refused
    return sqlite3.SQLITE_OK if is_permitted else sqlite3.SQLITE_DENY


def _text(data: bytes) -> str:
    # A letter has at most four bytes. The rest of a long text is not shown.
    return data[: 4 * CELL_CHARS_MAX + 4].decode("utf-8", "replace")


@contextmanager
def _explained(rows: Rows) -> Iterator[None]:
    """Say what the database has said, in words for whoever has asked."""
    try:
        yield
    except MemoryError:
        raise InquiryError("it needs too much memory: ask for fewer rows") from None
    except (sqlite3.Error, sqlite3.Warning) as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_INTERRUPT or rows.left_s < 0:
            raise too_slow() from None
        if code == sqlite3.SQLITE_AUTH or "not authorized" in str(error):
            raise InquiryError(f"only reading is permitted here: {error}. Write a SELECT") from None
        raise InquiryError(str(error)) from None
