"""A store whose journal is small: what is asked of it, and what others see of it on the disk."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from tests.unit.store.samples import row, settled
from understudy_store.changes import Changes
from understudy_store.commands import PromiseSearch
from understudy_store.engines.base import SOLE_EPOCH, Read
from understudy_store.engines.journaled import journaled_table
from understudy_store.engines.sqlite import journal
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.engines.sqlite.journal import BLOCK_BYTES
from understudy_store.records import Row

NEVER_S: Final = 3600.0
#: in a half of the journal
BLOCKS: Final = 8
SEARCH: Final = [Read(PromiseSearch(limit=100), 1)]

_numbers = count()


def shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have halves change after a few commits."""
    monkeypatch.setattr(journal, "HALF_BYTES", BLOCKS * BLOCK_BYTES)
    monkeypatch.setattr(journal, "RECORD_BYTES_MAX", 2 * BLOCK_BYTES)


def bring_in_after(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """How long the file may lag, if nothing asks for it."""
    monkeypatch.setattr(journaled_table, "LAG_S", seconds)


def insert(engine: SqliteEngine, *ids: str) -> None:
    assert engine.commit(Changes(1, inserted=[row(id_) for id_ in ids]), [], SOLE_EPOCH) == []


def settle(engine: SqliteEngine, at: int, *ids: str) -> None:
    assert (
        engine.commit(Changes(at, updated=[settled(row(id_), at) for id_ in ids]), [], SOLE_EPOCH)
        == []
    )


def too_large(id_: str) -> Row:
    """More than a record may hold."""
    made = row(id_)
    made.promise.param.headers["large"] = "x" * 3 * BLOCK_BYTES
    return made


def flush(engine: SqliteEngine) -> None:
    engine.commit(Changes(0), SEARCH, SOLE_EPOCH)


def in_file(path: Path) -> list[str]:
    """The ids that the file has, for somebody who reads it beside us."""
    with closing(sqlite3.connect(path)) as connection:
        return [id_ for (id_,) in connection.execute("SELECT id FROM promise ORDER BY id")]


def number_in_file(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        [(number,)] = connection.execute("SELECT value FROM meta WHERE key = 'commit'")
        return int(number)


@contextmanager
def after_a_kill(engine: SqliteEngine, path: Path) -> Iterator[SqliteEngine]:
    """What a process finds that opens the store as it is on the disk at this moment."""
    copy = path.with_name(f"killed-{next(_numbers)}.db")
    with engine.journaled._append_lock, engine.journaled._table_lock:
        for suffix in ("", "-wal", ".journal"):
            source = path.with_name(path.name + suffix)
            if source.exists():
                shutil.copy(source, copy.with_name(copy.name + suffix))
    reopened = SqliteEngine(copy)
    try:
        yield reopened
    finally:
        reopened.close()


def ids_of(engine: SqliteEngine) -> list[str]:
    [found] = engine.commit(Changes(0), SEARCH, SOLE_EPOCH)
    assert found.promises is not None
    return [promise.id for promise in found.promises]


def settled_at(engine: SqliteEngine, *ids: str) -> list[int | None]:
    found = {row.promise.id: row.promise.settled_at for row in engine.find(ids)}
    assert found.keys() == set(ids)
    return [found[id_] for id_ in ids]
