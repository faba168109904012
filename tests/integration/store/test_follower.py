"""The journal ahead of the file: who sees what, when the file has it, and what a kill leaves."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.integration.store.journal_world import (
    BLOCKS,
    NEVER_S,
    SEARCH,
    after_a_kill,
    bring_in_after,
    flush,
    ids_of,
    in_file,
    insert,
    number_in_file,
    settle,
    settled_at,
    too_large,
)
from tests.support import eventually
from tests.unit.store.samples import row, settled
from understudy_store.changes import Changes
from understudy_store.engines.base import SOLE_EPOCH
from understudy_store.engines.journaled import journaled_table
from understudy_store.engines.journaled.journaled_table import JournaledTable
from understudy_store.engines.journaled.memtable import Memtable
from understudy_store.engines.sql import statements
from understudy_store.engines.sqlite.database import STATEMENTS, Database
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.records import Row

ROUNDS: Final = 100

pytestmark = pytest.mark.usefixtures("small_halves")


@pytest.mark.usefixtures("idle")
def test_find_sees_the_last_state_wherever_it_is(engine: SqliteEngine, path: Path) -> None:
    """In the half that is written, else in the other, else in the file."""
    insert(engine, "a", "b", "c")
    flush(engine)
    with engine.journaled._table_lock:
        settle(engine, 5, "a", "b")
        engine.journaled._flush_now.set()
        eventually(lambda: engine.journaled.view.sealed)
        settle(engine, 6, "a")
        assert (engine.journaled.view.sealed.commits, engine.journaled.view.active.commits) == (
            1,
            1,
        )
        assert settled_at(engine, "a", "b", "c") == [6, 5, None]
        assert engine.find(["c", "nobody", "a"]) == [settled(row("a"), 6), row("c")]
        assert number_in_file(path) == 1
    eventually(lambda: not engine.journaled.view.sealed)
    assert settled_at(engine, "a", "b", "c") == [6, 5, None]
    # it says of itself no more than it holds, or the rest would not be looked for
    assert number_in_file(path) == 2
    with after_a_kill(engine, path) as reopened:
        assert settled_at(reopened, "a", "b", "c") == [6, 5, None]
    flush(engine)
    assert not engine.journaled.view.active
    assert settled_at(engine, "a", "b", "c") == [6, 5, None]
    assert number_in_file(path) == 3


@pytest.mark.usefixtures("idle")
def test_what_is_being_written_to_the_file_is_seen_meanwhile(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Row]] = []
    real = Database.write

    def write(database: Database, pending: Memtable, number: int) -> None:
        seen.append(engine.find(["a"]))
        real(database, pending, number)
        seen.append(engine.find(["a"]))

    monkeypatch.setattr(Database, "write", write)
    insert(engine, "a")
    flush(engine)
    assert seen == [[row("a")], [row("a")]]


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("large", [False, True])
def test_a_find_sees_no_half_of_what_is_written_meanwhile(
    large: bool, engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is found in the journal, the other is looked up in the file: later, after a commit."""
    insert(engine, "a", "b")
    flush(engine)
    settle(engine, 5, "a")
    real = engine._database.find
    calls: list[Collection[str]] = []

    def find(ids: Collection[str]) -> list[Row]:
        calls.append(list(ids))
        if len(calls) == 1:
            more = [too_large("c")] if large else []
            rows = [settled(row("a"), 6), settled(row("b"), 6)]
            engine.commit(
                Changes(6, inserted=more, updated=rows), [] if large else SEARCH, SOLE_EPOCH
            )
        return real(ids)

    monkeypatch.setattr(engine._database, "find", find)
    assert settled_at(engine, "a", "b") == [6, 6]
    assert calls == [["b"], ["a", "b"]]


@pytest.mark.usefixtures("idle")
def test_a_find_of_many_sees_no_half_of_what_is_written_meanwhile(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes several statements, and a commit comes between them."""
    insert(engine, "a", "b")
    flush(engine)
    real = statements.BatchStatement.results
    meanwhile = iter([6])

    def results(
        statement: statements.BatchStatement, driver: sqlite3.Connection, keys: Sequence[tuple[str]]
    ) -> Iterator[sqlite3.Cursor]:
        for result in real(statement, driver, keys):
            yield result
            if statement is STATEMENTS.find_promises:
                for at in meanwhile:
                    settle(engine, at, "a", "b")
                    flush(engine)

    monkeypatch.setattr(statements.BatchStatement, "results", results)
    fillers = [f"nobody.{number}" for number in range(statements.CHUNK_ROWS)]
    found = engine.find(["a", *fillers, "b"])
    assert found == [row("a"), row("b")]
    assert settled_at(engine, "a", "b") == [6, 6]


def test_the_file_has_a_commit_soon_without_being_asked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_in_after(monkeypatch, 0.02)
    engine = SqliteEngine(path)
    for id_ in ("a", "b", "c"):
        insert(engine, id_)
        eventually(lambda: number_in_file(path) == engine._journal.number)
    assert in_file(path) == ["a", "b", "c"]
    eventually(lambda: not engine.journaled.view.sealed)
    # it rests: nothing wakes it but the next commit
    eventually(lambda: not engine.journaled._has_commits.is_set())
    engine.close()


class _Waits(threading.Event):
    """Remembers for how long somebody wanted to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.wanted.append(timeout)
        return super().wait(timeout)


@pytest.mark.usefixtures("idle")
def test_the_file_is_not_written_for_each_commit(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    real = Database.write

    def write(database: Database, pending: Memtable, number: int) -> None:
        written.append(pending.commits)
        real(database, pending, number)

    monkeypatch.setattr(Database, "write", write)
    # who writes behind us waits for the first commit now, and then for this
    engine.journaled._flush_now = waits = _Waits()
    for number in range(8):
        insert(engine, f"p.{number}")
    eventually(lambda: waits.wanted)
    assert waits.wanted == [NEVER_S]
    assert written == []
    flush(engine)
    assert written == [8]


@pytest.mark.usefixtures("idle")
def test_many_rows_are_brought_in_sooner(
    path: Path, engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journaled_table, "LAG_ROWS", 4)
    for number in range(3):
        insert(engine, f"p.{number}")
    # the same rows again are no more of them
    settle(engine, 5, "p.0", "p.1", "p.2")
    assert not engine.journaled._flush_now.is_set()
    assert in_file(path) == []
    insert(engine, "p.3")
    eventually(lambda: number_in_file(path) == 5)
    assert in_file(path) == [f"p.{number}" for number in range(4)]


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("followed", [True, False])
def test_a_half_that_is_full_goes_to_the_file(
    followed: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Round after round, and at no time is a commit in neither.

    Where the thread behind it is late, the commit that needs the half does its work.
    """
    if not followed:
        monkeypatch.setattr(JournaledTable, "_follow", lambda _: None)
    engine = SqliteEngine(path)
    for number in range(40):
        insert(engine, f"p.{number:02}")
        with after_a_kill(engine, path) as reopened:
            assert ids_of(reopened) == [f"p.{n:02}" for n in range(number + 1)]
            assert reopened._journal.number == number + 1
    # at the change before the last one at the latest
    assert len(in_file(path)) >= 40 - 2 * BLOCKS
    engine.close()


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("ids", ["sLs", "Lss", "LL", "sLLs", "ssL"])
def test_what_is_too_large_for_a_record_goes_to_the_file_at_once(
    ids: str, path: Path, engine: SqliteEngine
) -> None:
    """In its order among small ones, and under a number of its own."""
    for number, kind in enumerate(ids, start=1):
        made = too_large(f"p.{number}") if kind == "L" else row(f"p.{number}")
        assert engine.commit(Changes(number, inserted=[made]), [], SOLE_EPOCH) == []
        expected = [f"p.{n}" for n in range(1, number + 1)]
        assert engine._journal.number == number
        if kind == "L":
            assert in_file(path) == expected
            assert number_in_file(path) == number
        with after_a_kill(engine, path) as reopened:
            assert ids_of(reopened) == expected
            assert reopened._journal.number == number
            assert reopened.find([f"p.{number}"]) == [made]
            insert(reopened, "later")
            with after_a_kill(reopened, reopened._path) as again:
                assert ids_of(again) == ["later", *expected]


@pytest.mark.usefixtures("idle")
def test_what_a_kill_left_is_whole_when_it_is_brought_in(path: Path, engine: SqliteEngine) -> None:
    """Of an update the journal has only what changed; the rest is in a record before it."""
    made = Row(row("a", k="v").promise)
    engine.commit(Changes(1, inserted=[made]), [], SOLE_EPOCH)
    engine.commit(Changes(2, updated=[settled(made)]), [], SOLE_EPOCH)
    assert in_file(path) == []
    with after_a_kill(engine, path) as reopened:
        assert reopened.find(["a"]) == [settled(made)]
        assert reopened.load().now == 2


def test_commits_of_a_busy_store_are_all_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread behind it writes and changes halves all the time."""
    bring_in_after(monkeypatch, 0.0)
    monkeypatch.setattr(journaled_table, "LAG_ROWS", 2)
    engine = SqliteEngine(path)
    insert(engine, "a", "b")
    for number in range(1, ROUNDS + 1):
        settle(engine, 2 * number, "a", "b")
        settle(engine, 2 * number + 1, "a")
        if number % 20 == 0:
            engine.commit(Changes(1, inserted=[too_large(f"l.{number}")]), SEARCH, SOLE_EPOCH)
    with after_a_kill(engine, path) as reopened:
        assert settled_at(reopened, "a", "b") == [2 * ROUNDS + 1, 2 * ROUNDS]
        assert reopened._journal.number == 1 + 2 * ROUNDS + ROUNDS // 20
    # merged on the way, and not only because somebody searched
    assert engine.journaled.view._table_writes > 2 * (ROUNDS // 20)
    engine.close()
