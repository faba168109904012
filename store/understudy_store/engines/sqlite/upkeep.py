"""Looks at the content of a SQLite store, and makes its file as small as it can be."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from understudy_store.commands import StatsGet
from understudy_store.engines.base import Read
from understudy_store.engines.sql.answers import answer, asking
from understudy_store.engines.sql.queries import Queries
from understudy_store.engines.sqlite.database import connect_reader, explained
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.engines.sqlite.files import check_ours, resolved
from understudy_store.engines.sqlite.sizes import size_of, with_files
from understudy_store.errors import StoreAccessError
from understudy_store.records import StoreStats


def stats(path: Path) -> StoreStats:
    """Return what the store at `path` has; it may be open.

    Raises
    ------
    StoreAccessError, StoreFormatError
        There is no such file, or it cannot be read, or is no store of this release.
    """
    path = resolved(path)
    if not check_ours(path):
        raise StoreAccessError(f"there is no store {path}: name the file of one")
    with explained(path), closing(connect_reader(path)) as connection, connection.begin():
        reply = answer(Queries(connection.dialect), Read(StatsGet(), 0), asking(connection))
    assert reply.stats is not None
    return with_files(reply.stats, path)


def compact(path: Path) -> tuple[int, int]:
    """Make the file of a store as small as it can be; return its bytes before and after.

    No broker may have it open. It takes as much room again on the disk meanwhile.

    Raises
    ------
    StoreError
        As for opening it.
    """
    path = resolved(path)
    if not check_ours(path):
        raise StoreAccessError(f"there is no store {path}: name the file of one")
    before = size_of(path)
    engine = SqliteEngine(path)
    try:
        engine.load()
        # Nobody else has the file: the engine holds its lock, and does nothing meanwhile.
        with explained(path), closing(sqlite3.connect(path, isolation_level=None)) as file:
            # An older file may have been made without; it takes effect with the next statement.
            file.execute("PRAGMA auto_vacuum=INCREMENTAL")
            file.execute("VACUUM")
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        engine.close()
    return before, size_of(path)
