"""Rows of slots, moved from one SQLite store to another while no broker has either of them open.

A move has three durable steps; whoever makes it keeps a text in each store that says how far it is
(`understudy_broker.server.slot_moves`). `copy` is the second one, and `drop` the third. Each is a
transaction of one store, together with the text, and may be repeated. So at any moment the rows are
in one store at least, and the texts say which of two copies counts.

SQLite itself copies the rows, without a look at them: everything of a slot goes along as it is,
history too. The journals of both stores are empty, because an engine that has been opened has
brought everything to its file.

What is not perfect: a copy is one transaction, so SQLite's log grows to the size of what is moved.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from typing import Final

from sqlalchemy import Table

from understudy_store.engines.sql.tables import (
    Attempt,
    Callback,
    Listener,
    Promise,
    Schedule,
    Unblock,
    table,
)
from understudy_store.engines.sqlite import facts
from understudy_store.engines.sqlite.engine import SqliteEngine

#: rows of promises that are looked at between two reports on the progress
CHUNK_ROWS: Final = 50_000

_promise: Final = table(Promise)
_OTHERS: Final = tuple(table(each) for each in (Callback, Listener, Unblock, Schedule, Attempt))


def _ignore(_: int) -> None:
    """Do nothing."""


def count(store: SqliteEngine, slots: Collection[int]) -> int:
    """Return the number of promises in some slots, settled ones included."""
    with store.database.transaction() as driver:
        [number] = driver.execute(
            f"SELECT count(*) FROM promise WHERE slot IN ({_listed(slots)})"
        ).fetchone()
        return int(number)


def part_waits(store: SqliteEngine) -> None:
    """Let tasks await what callbacks alone said so far, while one machine had both ends of a wait.

    It is done for the whole store, once more if need be. The callbacks stay with what is awaited,
    and do no harm there.
    """
    across = "callback.awaiter = promise.id AND callback.slot <> promise.slot"
    with store.database.transaction() as driver:
        driver.execute(
            "UPDATE promise SET awaits = "
            f"(SELECT json_group_array(callback.awaited) FROM callback WHERE {across}) "
            "WHERE state = 'pending' AND awaits IS NULL "
            f"AND EXISTS (SELECT 1 FROM callback WHERE {across})"
        )


def copy(
    source: SqliteEngine,
    target: SqliteEngine,
    slots: Collection[int],
    fact: tuple[str, str],
    on_progress: Callable[[int], object] = _ignore,
) -> int:
    """Make what `target` has of some slots equal to what `source` has, durable on return.

    The target's time goes up to that of the source, because what is stored has been up to then.

    Parameters
    ----------
    fact
        Kept in the target in the same transaction, see `Engine.put_fact`.
    on_progress
        Told the number of promises that were copied, now and then. Nothing is kept if it raises.

    Returns
    -------
    The number of promises.
    """
    database = target.database
    with database.attached(source.path, "source"), database.transaction() as driver:
        _delete(driver, slots)
        copied = 0
        [last] = driver.execute("SELECT coalesce(max(rowid), 0) FROM source.promise").fetchone()
        for at in range(0, last, CHUNK_ROWS):
            chunk = f"rowid > {at} AND rowid <= {at + CHUNK_ROWS}"
            copied += _insert(driver, _promise, slots, chunk)
            on_progress(copied)
        for each in _OTHERS:
            _insert(driver, each, slots)
        driver.execute(
            "UPDATE main.meta SET value = source.value FROM source.meta AS source "
            "WHERE main.meta.key = 'now' AND source.key = 'now' "
            "AND CAST(source.value AS INTEGER) > CAST(main.meta.value AS INTEGER)"
        )
        facts.put(driver, *fact)
    return copied


def drop(store: SqliteEngine, slots: Collection[int], fact: tuple[str, str]) -> None:
    """Delete everything of some slots, and keep a fact with that; durable on return."""
    with store.database.transaction() as driver:
        _delete(driver, slots)
        facts.put(driver, *fact)


def _delete(driver: sqlite3.Connection, slots: Collection[int]) -> None:
    for each in (_promise, *_OTHERS):
        driver.execute(f"DELETE FROM main.{each.name} WHERE slot IN ({_listed(slots)})")


def _insert(
    driver: sqlite3.Connection, target: Table, slots: Collection[int], condition: str = "TRUE"
) -> int:
    # By name, because columns of an older store that was upgraded are in another order.
    columns = ", ".join(column.name for column in target.c)
    return driver.execute(
        f"INSERT INTO main.{target.name} ({columns}) SELECT {columns} FROM source.{target.name} "
        f"WHERE {condition} AND slot IN ({_listed(slots)})"
    ).rowcount


def _listed(slots: Collection[int]) -> str:
    return ", ".join(map(str, sorted(slots)))
