"""Searches of a SQLite file, over a connection of their own.

A search is one transaction, so it sees the file as of the moment in which it begins, whatever is
written meanwhile. As long as it lasts, SQLite cannot begin its log anew, and the log grows with
what is written: one reason why searches have a time limit.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from understudy_store.commands import Reply
from understudy_store.engines.base import Read
from understudy_store.engines.sql.answers import answer, asking
from understudy_store.engines.sql.queries import Queries
from understudy_store.errors import SearchTimeoutError, StoreClosedError

#: steps of SQLite's machine after which a search looks at the clock: less than a millisecond
_STEPS: Final = 20_000


class FileSearcher:
    """Searches the file at `path`, beside whatever other threads do with it.

    Parameters
    ----------
    connect
        Returns a connection that only reads. It is called at the first search.
    """

    def __init__(self, path: Path, queries: Queries, connect: Callable[[], Connection]) -> None:
        self._path = path
        self._queries = queries
        self._connect = connect
        #: held by whoever searches
        self._lock = Lock()
        self._connection: Connection | None = None
        self._stopped = False

    def search(self, read: Read, time_limit_s: float) -> Reply:
        """Answer a search.

        Raises
        ------
        SearchTimeoutError, StoreClosedError
            As for `Engine.search`.
        SQLAlchemyError, sqlite3.Error
            It could not be read.
        """
        with self._lock:
            self._check_open()
            until = time.monotonic() + time_limit_s
            is_late = False

            def is_over() -> bool:
                nonlocal is_late
                is_late = is_late or time.monotonic() >= until
                return is_late or self._stopped

            if self._connection is None:
                self._connection = self._connect()
            driver = self._connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            driver.set_progress_handler(is_over, _STEPS)
            try:
                with self._connection.begin():
                    return answer(self._queries, read, asking(self._connection))
            except (SQLAlchemyError, sqlite3.Error):
                self._check_open()
                if is_late:
                    raise SearchTimeoutError(f"a search of {self._path} took too long") from None
                raise
            finally:
                driver.set_progress_handler(None, 0)

    def _check_open(self) -> None:
        if self._stopped:
            raise StoreClosedError(f"the store {self._path} is closed")

    def stop(self) -> None:
        """End a search that is under way, and make no other; may be called from any thread."""
        self._stopped = True

    def close(self) -> None:
        """Close the connection, after `stop`."""
        self._stopped = True
        with self._lock:
            if self._connection is not None:
                with suppress(SQLAlchemyError):
                    self._connection.close()
