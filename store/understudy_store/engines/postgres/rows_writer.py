"""Writes a memtable to the tables, within the transaction of whoever calls.

New rows are copied into the table of promises, which is the quickest way into it. Rows that change
are copied into a temporary table first, and one UPDATE takes them from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from psycopg import Cursor
from psycopg.errors import UniqueViolation

from understudy_store.engines.journaled.memtable import Memtable
from understudy_store.engines.postgres.connections import Connection
from understudy_store.engines.postgres.statements import Statements, types_of
from understudy_store.engines.sql.rows import (
    PROMISE_COLUMNS,
    UPDATE_COLUMNS,
    attempt_values,
    insert_values,
    schedule_values,
    slotted,
    update_values,
)
from understudy_store.engines.sql.tables import Promise
from understudy_store.errors import StoreError
from understudy_store.records import Row

#: Rows that are encoded at once. Meanwhile no other thread has the interpreter.
_CHUNK_ROWS: Final = 256
#: the same for a write with pauses, which is not to hold up other threads
_PAUSED_CHUNK_ROWS: Final = 64
_INSERT_TYPES: Final = types_of(Promise, PROMISE_COLUMNS)
_UPDATE_TYPES: Final = types_of(Promise, UPDATE_COLUMNS)


def write_memtable(
    connection: Connection,
    statements: Statements,
    memtable: Memtable,
    pause: Callable[[], object] | None = None,
) -> None:
    """Write all of `memtable`.

    Parameters
    ----------
    connection
        In a transaction, with the temporary table of `Statements.make_given`.
    pause
        Called after every few rows; None: no pauses.

    Raises
    ------
    StoreError
        A row to insert exists, or one to update does not.
    """
    with connection.cursor() as cursor:
        if memtable.purged:
            purged = list(memtable.purged)
            cursor.execute(statements.purge_promises, (purged,))
            cursor.execute(statements.purge_attempts, (purged,))
        inserted, updated = memtable.split()
        if inserted:
            try:
                _copy(cursor, statements.copy_promises, _INSERT_TYPES, _inserts(inserted, pause))
            except UniqueViolation as error:
                raise StoreError(f"an inserted promise exists: {error.diag.table_name}") from None
        if updated:
            _copy(cursor, statements.copy_given, _UPDATE_TYPES, _updates(updated, pause))
            count = cursor.execute(statements.update_promises).rowcount
            if count != len(updated):
                raise StoreError(f"only {count} of {len(updated)} promises to update exist")
        _write_links(cursor, statements, memtable)
        _write_schedules(cursor, statements, memtable)
        _write_attempts(cursor, statements, memtable)
        cursor.execute(statements.set_now, {"now": str(memtable.now)})


def _copy(
    cursor: Cursor[Any], text: str, types: Sequence[str], rows: Iterator[Sequence[Any]]
) -> None:
    with cursor.copy(text) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


def _inserts(rows: Sequence[Row], pause: Callable[[], object] | None) -> Iterator[Sequence[Any]]:
    for chunk in _chunks(rows, pause):
        yield from insert_values(chunk)


def _updates(rows: Sequence[Row], pause: Callable[[], object] | None) -> Iterator[Sequence[Any]]:
    for chunk in _chunks(rows, pause):
        yield from map(update_values, chunk)


def _chunks(rows: Sequence[Row], pause: Callable[[], object] | None) -> Iterator[Sequence[Row]]:
    size = _CHUNK_ROWS if pause is None else _PAUSED_CHUNK_ROWS
    for at in range(0, len(rows), size):
        yield rows[at : at + size]
        if pause is not None:
            pause()


def _write_links(cursor: Cursor[Any], statements: Statements, memtable: Memtable) -> None:
    for links, remove, add in (
        (memtable.callbacks, statements.remove_callbacks, statements.add_callbacks),
        (memtable.listeners, statements.remove_listeners, statements.add_listeners),
    ):
        if links.removed:
            cursor.execute(remove, (list(links.removed),))
        if added := links.added:
            cursor.executemany(add, slotted(added))
    if added := [key for key, owed in memtable.unblocks.items() if owed]:
        cursor.executemany(statements.add_unblocks, slotted(added))
    if removed := [key for key, owed in memtable.unblocks.items() if not owed]:
        cursor.executemany(statements.remove_unblock, removed)


def _write_schedules(cursor: Cursor[Any], statements: Statements, memtable: Memtable) -> None:
    if memtable.schedules:
        cursor.execute(statements.delete_schedules, (list(memtable.schedules),))
    put = [schedule for schedule in memtable.schedules.values() if schedule is not None]
    if put:
        cursor.executemany(statements.put_schedule, [schedule_values(each) for each in put])


def _write_attempts(cursor: Cursor[Any], statements: Statements, memtable: Memtable) -> None:
    if logged := [each for each in memtable.attempts.values() if each is not None]:
        cursor.executemany(statements.add_attempt, attempt_values(logged))
    if forgotten := [key for key, each in memtable.attempts.items() if each is None]:
        cursor.executemany(statements.remove_attempt, forgotten)
