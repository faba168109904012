"""A disk that fails beneath the journal or the file, and how a store is closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.store.journal_world import (
    bring_in_after,
    ids_of,
    in_file,
    insert,
    number_in_file,
)
from tests.support import eventually
from tests.unit.store.samples import row
from understudy_store.changes import Changes
from understudy_store.engines.base import SOLE_EPOCH
from understudy_store.engines.journaled.journaled_table import JournaledTable
from understudy_store.engines.journaled.memtable import Memtable
from understudy_store.engines.sqlite import journal
from understudy_store.engines.sqlite.database import Database
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.errors import StoreClosedError, StoreError

pytestmark = pytest.mark.usefixtures("small_halves")


@contextmanager
def _broken_disk() -> Iterator[None]:
    def write(database: Database, pending: Memtable, number: int) -> None:
        raise StoreError("disk on fire")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "write", write)
        yield


@pytest.mark.parametrize("still_broken", [False, True])
def test_after_a_failure_in_the_background_nothing_is_acknowledged(
    still_broken: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_in_after(monkeypatch, 0.0)
    engine = SqliteEngine(path)
    insert(engine, "a")
    eventually(lambda: number_in_file(path) == 1)
    with _broken_disk():
        insert(engine, "b")
        eventually(lambda: engine.journaled.failure is not None)
        for _ in range(2):
            with pytest.raises(StoreError, match="disk on fire"):
                insert(engine, "c")
        assert engine.find(["a", "b", "c"]) == [row("b"), row("a")]
        if still_broken:
            engine.close()
    engine.close()
    assert path.with_name("x.db.journal").exists()
    reopened = SqliteEngine(path)
    assert ids_of(reopened) == ["a", "b"]
    reopened.close()


@pytest.mark.usefixtures("idle")
def test_a_disk_that_fails_at_close_leaves_the_journal(path: Path) -> None:
    engine = SqliteEngine(path)
    insert(engine, "a")
    with _broken_disk():
        engine.close()
    assert path.with_name("x.db.journal").exists()
    assert in_file(path) == []
    reopened = SqliteEngine(path)
    assert ids_of(reopened) == ["a"]
    reopened.close()


@pytest.mark.usefixtures("idle")
def test_a_commit_whose_outcome_is_unknown_is_left_to_the_next_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = SqliteEngine(path)
    insert(engine, "a")
    write = journal.write_through

    def write_and_fail(fd: int, data: memoryview, offset: int) -> None:
        write(fd, data, offset)
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "write_through", write_and_fail)
        with pytest.raises(StoreError, match="the journal: Input/output error"):
            insert(engine, "b")
    assert engine.find(["a", "b"]) == [row("a")]
    engine.close()
    reopened = SqliteEngine(path)
    assert ids_of(reopened) == ["a", "b"], "it has reached the disk"
    reopened.close()


@pytest.mark.usefixtures("idle")
def test_a_journal_that_cannot_be_written_stops_the_store(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = SqliteEngine(path)
    insert(engine, "a")

    def full(fd: int, data: memoryview, offset: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "write_through", full)
        with pytest.raises(StoreError, match="the journal: No space left on device"):
            insert(engine, "b")
    with pytest.raises(StoreError, match="No space left"):
        insert(engine, "c")
    assert engine.find(["a", "b", "c"]) == [row("a")]
    # the error is kept, and with it what was to be written: the store closes all the same
    engine.close()
    reopened = SqliteEngine(path)
    assert ids_of(reopened) == ["a"]
    reopened.close()


@pytest.mark.usefixtures("idle")
def test_a_close_that_fails_in_a_way_that_nobody_expects_gives_the_lock_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = SqliteEngine(path)
    insert(engine, "a")

    def bug(*_: object) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", bug)
        engine.close()
    assert path.with_name("x.db.journal").exists()
    engine = SqliteEngine(path)
    with monkeypatch.context() as patch:
        patch.setattr(JournaledTable, "close", bug)
        with pytest.raises(RuntimeError, match="a bug"):
            engine.close()
    engine.journaled.close()
    reopened = SqliteEngine(path)
    assert ids_of(reopened) == ["a"]
    reopened.close()


def test_a_failure_in_the_background_is_told_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that has happened before anybody wanted to know."""
    bring_in_after(monkeypatch, 0.0)
    engine = SqliteEngine(path)
    told: list[StoreError] = []
    engine.watch(told.append)
    with _broken_disk():
        insert(engine, "a")
        eventually(lambda: told)
    engine.watch(told.append)
    assert [str(error) for error in told] == ["disk on fire"] * 2
    engine.close()


@pytest.mark.usefixtures("idle")
def test_after_a_clean_close_all_is_in_the_file(path: Path) -> None:
    engine = SqliteEngine(path)
    insert(engine, "a")
    engine.close()
    engine.close()
    assert not engine.journaled._thread.is_alive()
    assert sorted(each.name for each in path.parent.iterdir()) == ["x.db", "x.db.lock"]
    assert in_file(path) == ["a"]
    assert number_in_file(path) == 1
    with pytest.raises(StoreClosedError, match="is closed"):
        engine.commit(Changes(2, inserted=[row("b")]), [], SOLE_EPOCH)
    with pytest.raises(StoreClosedError, match="is closed"):
        engine.find(["a"])


def test_a_store_that_nothing_was_written_to_closes(path: Path) -> None:
    SqliteEngine(path).close()
    assert not path.with_name("x.db.journal").exists()
    assert number_in_file(path) == 0
