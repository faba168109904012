"""Replay: the commits that are left in a journal, merged into one memtable. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from understudy_store.changes import Changes
from understudy_store.engines.journaled.journal_records import decode
from understudy_store.engines.journaled.memtable import Memtable
from understudy_store.records import Row


def replayed(records: Iterable[bytes]) -> Memtable:
    """Merge the commits of `records`, which follow one another and the table's last commit.

    Raises
    ------
    msgspec.MsgspecError, UnicodeDecodeError
        One of them is no encoded commit.
    """
    memtable = Memtable()
    for data in records:
        memtable.add(completed(decode(data), memtable.rows))
    return memtable


def completed(changes: Changes, rows: Mapping[str, Row]) -> Changes:
    """Fill in the fields that updates in a journal leave out, where the table lacks the row."""
    return replace(changes, updated=[_over(row, rows) for row in changes.updated])


def _over(row: Row, rows: Mapping[str, Row]) -> Row:
    before = rows.get(row.promise.id)
    if before is None:
        return row
    new = row.promise
    promise = replace(before.promise, state=new.state, value=new.value, settled_at=new.settled_at)
    return Row(promise, row.task)
