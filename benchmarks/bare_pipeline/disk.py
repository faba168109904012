"""The store of the bare pipeline: SQLite with the product's promise table and statements.

Rows, columns, indexes and SQL are the same as the product's; everything above them is left out.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
from sqlalchemy import URL, NullPool, create_engine
from sqlalchemy.dialects import sqlite

from benchmarks.bare_pipeline.messages import Create, Fulfill, Step
from understudy_store.engines.sql.statements import Statements
from understudy_store.engines.sql.tables import METADATA
from understudy_store.engines.sqlite.database import LOG_BYTES, PAGE_BYTES

PRAGMAS = (
    f"PRAGMA page_size={PAGE_BYTES}",
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    f"PRAGMA wal_autocheckpoint={LOG_BYTES // PAGE_BYTES}",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA cache_size=-16384",
)
LEASE_MS = 10_000
STATEMENTS = Statements(sqlite.dialect())

Cells = tuple[Any, ...]
_json = msgspec.json.Encoder().encode

SET_NOW = "UPDATE meta SET value = ? WHERE key = 'now'"


class Disk:
    """One file, one connection, one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._engine = create_engine(
            URL.create("sqlite", database=str(path)),
            poolclass=NullPool,
            connect_args={"check_same_thread": False},
        )
        self._connection = self._engine.connect()
        driver = self._connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        self._driver = driver
        driver.isolation_level = None
        for pragma in PRAGMAS:
            driver.execute(pragma).fetchall()
        METADATA.create_all(self._connection)
        driver.execute("INSERT INTO meta (key, value) VALUES ('now', '0')")
        # Syncing is twice as fast if existing bytes are overwritten instead of appended.
        driver.execute("CREATE TABLE filler (bytes BLOB)")
        driver.execute("INSERT INTO filler VALUES (zeroblob(?))", (LOG_BYTES,))
        driver.execute("DROP TABLE filler")
        driver.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def commit(self, begun: list[Cells], ended: list[Cells], now: int) -> None:
        """Write all rows in one transaction, which is on the disk on return."""
        driver = self._driver
        driver.execute("BEGIN IMMEDIATE")
        if begun:
            STATEMENTS.insert_promises.run(driver, begun)
        if ended:
            STATEMENTS.update_promises.run(driver, ended)
        driver.execute(SET_NOW, (str(now),))
        driver.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()


def begun(create: Create, holder: str, now: int) -> Cells:
    """Return the row of a call that is handed out at once: its task is acquired."""
    return (
        *_head(create.id, "pending", create.param, "{}", None, create.tags),
        *(create.timeout_at, now, None),
        *_place(create.id, create.tags),
        *("bench", None, None, None),
        *("acquired", 1, "poll://any@bench", holder, LEASE_MS, now + LEASE_MS, None, None),
        *(0, 0, None, None, holder, now, now, now, 0, 0),
    )


def ended(fulfill: Fulfill, now: int) -> Cells:
    """Return the changes in the row of a call that ends."""
    return (
        fulfill.id,
        *(fulfill.state, _headers(fulfill.value.headers), fulfill.value.data, now, None),
        *("fulfilled", fulfill.version, None, None, None, None, None, 0, 0, None, None),
        *(None, now, now, now, 0, 0),
    )


def stepped(step: Step, now: int) -> Cells:
    """Return the row of a local step, which has no task."""
    value = step.value
    return (
        *_head(step.id, "resolved", step.param, _headers(value.headers), value.data, step.tags),
        *(step.timeout_at, now, now),
        *_place(step.id, step.tags),
        *(None,) * 22,
    )


def _head(
    id: str, state: str, param: Any, value_headers: str, value: bytes | None, tags: dict[str, str]
) -> Cells:
    return (id, state, _headers(param.headers), param.data, value_headers, value, _headers(tags))


def _place(id: str, tags: dict[str, str]) -> Cells:
    origin = tags.get("understudy:origin", id)
    return (origin, tags.get("understudy:branch"), crc32(origin.encode()) & 0xFFFF)


def _headers(headers: dict[str, str]) -> str:
    return _json(headers).decode() if headers else "{}"
