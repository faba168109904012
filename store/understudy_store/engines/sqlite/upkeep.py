"""Looks at the content of a SQLite store, and makes its file as small as it can be."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from understudy_store.engines.sql.tables import CALLS, GONE
from understudy_store.engines.sqlite.database import connect_reader, explained
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.engines.sqlite.files import check_ours, resolved
from understudy_store.errors import StoreAccessError

#: functions that are listed
FUNCTIONS_MAX = 100


class StoreStats(msgspec.Struct, frozen=True):
    """The content of a store; times in epoch milliseconds, sizes in bytes.

    Attributes
    ----------
    promises, pending, tombstones, attempts
        Rows. A running broker's file may be a second behind.
    oldest_ended_at
        When the oldest call graph ended that is still there; None: none has.
    functions
        Group, function and number of the root calls, the most frequent first.
    free_bytes
        Bytes of the file that new rows will use.
    """

    file_bytes: int
    free_bytes: int
    log_bytes: int
    journal_bytes: int
    promises: int
    pending: int
    tombstones: int
    attempts: int
    oldest_ended_at: int | None
    functions: list[tuple[str, str, int]]


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

        def number(query: str) -> int:
            return int(connection.exec_driver_sql(query).scalar() or 0)

        oldest = (
            "SELECT min(settled_at) FROM promise "
            "WHERE origin = id AND settled_at IS NOT NULL AND timeout_at >= 0"
        )
        functions = connection.exec_driver_sql(
            f"SELECT group_name, function, count(*) FROM promise WHERE {CALLS} "
            f"GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT {FUNCTIONS_MAX}"
        )
        return StoreStats(
            file_bytes=_size(path),
            free_bytes=number("PRAGMA freelist_count") * number("PRAGMA page_size"),
            log_bytes=_size(Path(f"{path}-wal")),
            journal_bytes=_size(Path(f"{path}.journal")),
            promises=number(f"SELECT count(*) FROM promise WHERE NOT {GONE}"),
            pending=number("SELECT count(*) FROM promise WHERE state = 'pending'"),
            tombstones=number(f"SELECT count(*) FROM promise WHERE {GONE}"),
            attempts=number("SELECT count(*) FROM attempt"),
            oldest_ended_at=connection.exec_driver_sql(oldest).scalar(),
            functions=[(row[0], row[1], row[2]) for row in functions],
        )


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
    before = _size(path)
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
    return before, _size(path)


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0
