"""The journal ahead of the file: who sees what, when the file has it, and what a kill leaves."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from tests.support import eventually
from tests.unit.store.samples import row, settled
from understudy_store.changes import Changes, Row
from understudy_store.commands import PromiseSearch
from understudy_store.engines import journal
from understudy_store.engines import sqlite as engine_module
from understudy_store.engines.base import Read
from understudy_store.engines.database import Database
from understudy_store.engines.journal import BLOCK_BYTES
from understudy_store.engines.pending import Pending
from understudy_store.engines.sqlite import SqliteEngine
from understudy_store.errors import StoreError

NEVER_S: Final = 3600.0
ROUNDS: Final = 100
SEARCH: Final = [Read(PromiseSearch(limit=100), 1)]

_numbers = count()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


@pytest.fixture(autouse=True)
def small_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "HALF_BYTES", 8 * BLOCK_BYTES)
    monkeypatch.setattr(journal, "RECORD_BYTES_MAX", 2 * BLOCK_BYTES)


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file gets nothing until something asks for it."""
    monkeypatch.setattr(engine_module, "LAG_S", NEVER_S)


@pytest.fixture
def engine(path: Path) -> Iterator[SqliteEngine]:
    engine = SqliteEngine(path)
    engine.load()
    yield engine
    engine.close()


def _insert(engine: SqliteEngine, *ids: str) -> None:
    assert engine.commit(Changes(1, inserted=[row(id_) for id_ in ids]), []) == []


def _settle(engine: SqliteEngine, at: int, *ids: str) -> None:
    assert engine.commit(Changes(at, updated=[settled(row(id_), at) for id_ in ids]), []) == []


def _large(id_: str) -> Row:
    """More than a record may hold."""
    made = row(id_)
    made.promise.param.headers["large"] = "x" * 3 * BLOCK_BYTES
    return made


def _flush(engine: SqliteEngine) -> None:
    engine.commit(Changes(0), SEARCH)


def _in_file(path: Path) -> list[str]:
    """The ids that the file has, for somebody who reads it beside us."""
    with closing(sqlite3.connect(path)) as connection:
        return [id_ for (id_,) in connection.execute("SELECT id FROM promise ORDER BY id")]


def _number_in_file(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        [(number,)] = connection.execute("SELECT value FROM meta WHERE key = 'commit'")
        return int(number)


@contextmanager
def _after_a_kill(engine: SqliteEngine, path: Path) -> Iterator[SqliteEngine]:
    """What a process finds that opens the store as it is on the disk at this moment."""
    copy = path.with_name(f"killed-{next(_numbers)}.db")
    with engine._append_lock, engine._file_lock:
        for suffix in ("", "-wal", ".journal"):
            source = path.with_name(path.name + suffix)
            if source.exists():
                shutil.copy(source, copy.with_name(copy.name + suffix))
    reopened = SqliteEngine(copy)
    try:
        yield reopened
    finally:
        reopened.close()


def _ids(engine: SqliteEngine) -> list[str]:
    [found] = engine.commit(Changes(0), SEARCH)
    assert found.promises is not None
    return [promise.id for promise in found.promises]


def _settled_at(engine: SqliteEngine, *ids: str) -> list[int | None]:
    found = {row.promise.id: row.promise.settled_at for row in engine.find(ids)}
    assert found.keys() == set(ids)
    return [found[id_] for id_ in ids]


@pytest.mark.usefixtures("idle")
def test_find_sees_the_last_state_wherever_it_is(engine: SqliteEngine, path: Path) -> None:
    """In the half that is written, else in the other, else in the file."""
    _insert(engine, "a", "b", "c")
    _flush(engine)
    with engine._file_lock:
        _settle(engine, 5, "a", "b")
        engine._enough.set()
        eventually(lambda: engine._sealed)
        _settle(engine, 6, "a")
        assert (engine._sealed.commits, engine._active.commits) == (1, 1)
        assert _settled_at(engine, "a", "b", "c") == [6, 5, None]
        assert engine.find(["c", "nobody", "a"]) == [settled(row("a"), 6), row("c")]
        assert _number_in_file(path) == 1
    eventually(lambda: not engine._sealed)
    assert _settled_at(engine, "a", "b", "c") == [6, 5, None]
    _flush(engine)
    assert not engine._active
    assert _settled_at(engine, "a", "b", "c") == [6, 5, None]
    assert _number_in_file(path) == 3


@pytest.mark.usefixtures("idle")
def test_what_is_being_written_to_the_file_is_seen_meanwhile(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[Row]] = []
    real = Database.write

    def write(database: Database, pending: Pending, number: int) -> None:
        seen.append(engine.find(["a"]))
        real(database, pending, number)
        seen.append(engine.find(["a"]))

    monkeypatch.setattr(Database, "write", write)
    _insert(engine, "a")
    _flush(engine)
    assert seen == [[row("a")], [row("a")]]


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("large", [False, True])
def test_a_find_sees_no_half_of_what_is_written_meanwhile(
    large: bool, engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is found in the journal, the other is looked up in the file: later, after a commit."""
    _insert(engine, "a", "b")
    _flush(engine)
    _settle(engine, 5, "a")
    real = engine._database.find
    calls: list[Collection[str]] = []

    def find(ids: Collection[str]) -> list[Row]:
        calls.append(list(ids))
        if len(calls) == 1:
            more = [_large("c")] if large else []
            rows = [settled(row("a"), 6), settled(row("b"), 6)]
            engine.commit(Changes(6, inserted=more, updated=rows), [] if large else SEARCH)
        return real(ids)

    monkeypatch.setattr(engine._database, "find", find)
    assert _settled_at(engine, "a", "b") == [6, 6]
    assert calls == [["b"], ["a", "b"]]


def test_the_file_has_a_commit_soon_without_being_asked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "LAG_S", 0.02)
    engine = SqliteEngine(path)
    for id_ in ("a", "b", "c"):
        _insert(engine, id_)
        eventually(lambda: _number_in_file(path) == engine._journal.number)
    assert _in_file(path) == ["a", "b", "c"]
    eventually(lambda: not engine._sealed)
    # it rests: nothing wakes it but the next commit
    eventually(lambda: not engine._some.is_set())
    engine.close()


@pytest.mark.usefixtures("idle")
def test_the_file_is_not_written_for_each_commit(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    real = Database.write

    def write(database: Database, pending: Pending, number: int) -> None:
        written.append(pending.commits)
        real(database, pending, number)

    monkeypatch.setattr(Database, "write", write)
    monkeypatch.setattr(journal, "HALF_BYTES", 64 * BLOCK_BYTES)
    for number in range(8):
        _insert(engine, f"p.{number}")
    assert written == []
    _flush(engine)
    assert written == [8]


@pytest.mark.usefixtures("idle")
def test_many_rows_are_brought_in_sooner(
    path: Path, engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "LAG_ROWS", 4)
    for number in range(3):
        _insert(engine, f"p.{number}")
    # the same rows again are no more of them
    _settle(engine, 5, "p.0", "p.1", "p.2")
    assert not engine._enough.is_set()
    assert _in_file(path) == []
    _insert(engine, "p.3")
    eventually(lambda: _number_in_file(path) == 5)
    assert _in_file(path) == [f"p.{number}" for number in range(4)]


@pytest.mark.usefixtures("idle")
def test_a_half_that_is_full_goes_to_the_file(path: Path, engine: SqliteEngine) -> None:
    """Round after round, and at no time is a commit in neither."""
    for number in range(40):
        _insert(engine, f"p.{number:02}")
        with _after_a_kill(engine, path) as reopened:
            assert _ids(reopened) == [f"p.{n:02}" for n in range(number + 1)]
            assert reopened._journal.number == number + 1
    # by the change before the last one at the latest
    assert len(_in_file(path)) >= 40 - 2 * 8


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("ids", ["sLs", "Lss", "LL", "sLLs", "ssL"])
def test_what_is_too_large_for_a_record_goes_to_the_file_at_once(
    ids: str, path: Path, engine: SqliteEngine
) -> None:
    """In its order among small ones, and under a number of its own."""
    for number, kind in enumerate(ids, start=1):
        made = _large(f"p.{number}") if kind == "L" else row(f"p.{number}")
        assert engine.commit(Changes(number, inserted=[made]), []) == []
        expected = [f"p.{n}" for n in range(1, number + 1)]
        assert engine._journal.number == number
        if kind == "L":
            assert _in_file(path) == expected
            assert _number_in_file(path) == number
        with _after_a_kill(engine, path) as reopened:
            assert _ids(reopened) == expected
            assert reopened._journal.number == number
            assert reopened.find([f"p.{number}"]) == [made]
            _insert(reopened, "later")
            with _after_a_kill(reopened, reopened._path) as again:
                assert _ids(again) == ["later", *expected]


@pytest.mark.usefixtures("idle")
def test_what_a_kill_left_is_whole_when_it_is_brought_in(path: Path, engine: SqliteEngine) -> None:
    """Of an update the journal has only what changed; the rest is in a record before it."""
    made = Row(row("a", k="v").promise)
    engine.commit(Changes(1, inserted=[made]), [])
    engine.commit(Changes(2, updated=[settled(made)]), [])
    assert _in_file(path) == []
    with _after_a_kill(engine, path) as reopened:
        assert reopened.find(["a"]) == [settled(made)]
        assert reopened.load().now == 2


@contextmanager
def _broken_disk() -> Iterator[None]:
    def write(database: Database, pending: Pending, number: int) -> None:
        raise StoreError("disk on fire")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "write", write)
        yield


@pytest.mark.parametrize("still_broken", [False, True])
def test_after_a_failure_in_the_background_nothing_is_acknowledged(
    still_broken: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "LAG_S", 0.0)
    engine = SqliteEngine(path)
    _insert(engine, "a")
    eventually(lambda: _number_in_file(path) == 1)
    with _broken_disk():
        _insert(engine, "b")
        eventually(lambda: engine._failure is not None)
        for _ in range(2):
            with pytest.raises(StoreError, match="disk on fire"):
                _insert(engine, "c")
        assert engine.find(["a", "b", "c"]) == [row("b"), row("a")]
        if still_broken:
            engine.close()
    engine.close()
    assert path.with_name("x.db.journal").exists()
    reopened = SqliteEngine(path)
    assert _ids(reopened) == ["a", "b"]
    reopened.close()


@pytest.mark.usefixtures("idle")
def test_a_disk_that_fails_at_close_leaves_the_journal(path: Path) -> None:
    engine = SqliteEngine(path)
    _insert(engine, "a")
    with _broken_disk():
        engine.close()
    assert path.with_name("x.db.journal").exists()
    assert _in_file(path) == []
    reopened = SqliteEngine(path)
    assert _ids(reopened) == ["a"]
    reopened.close()


@pytest.mark.usefixtures("idle")
def test_a_journal_that_cannot_be_written_stops_the_store(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = SqliteEngine(path)
    _insert(engine, "a")

    def full(fd: int, data: memoryview, offset: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "write_through", full)
        with pytest.raises(StoreError, match="the journal: No space left on device"):
            _insert(engine, "b")
    with pytest.raises(StoreError, match="No space left"):
        _insert(engine, "c")
    assert engine.find(["a", "b", "c"]) == [row("a")]
    # the error is kept, and with it what was to be written: the store closes all the same
    engine.close()
    reopened = SqliteEngine(path)
    assert _ids(reopened) == ["a"]
    reopened.close()


@pytest.mark.usefixtures("idle")
def test_after_a_clean_close_all_is_in_the_file(path: Path) -> None:
    engine = SqliteEngine(path)
    _insert(engine, "a")
    engine.close()
    engine.close()
    assert not engine._thread.is_alive()
    assert sorted(each.name for each in path.parent.iterdir()) == ["x.db", "x.db.lock"]
    assert _in_file(path) == ["a"]
    assert _number_in_file(path) == 1
    with pytest.raises(StoreError):
        engine.commit(Changes(2, inserted=[row("b")]), [])
    with pytest.raises(StoreError, match="is closed"):
        engine.find(["a"])


def test_a_store_that_nothing_was_written_to_closes(path: Path) -> None:
    SqliteEngine(path).close()
    assert not path.with_name("x.db.journal").exists()
    assert _number_in_file(path) == 0


def test_commits_of_a_busy_store_are_all_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread behind it writes and changes halves all the time."""
    monkeypatch.setattr(engine_module, "LAG_S", 0.0)
    monkeypatch.setattr(engine_module, "LAG_ROWS", 2)
    engine = SqliteEngine(path)
    _insert(engine, "a", "b")
    for number in range(1, ROUNDS + 1):
        _settle(engine, 2 * number, "a", "b")
        _settle(engine, 2 * number + 1, "a")
        if number % 20 == 0:
            engine.commit(Changes(1, inserted=[_large(f"l.{number}")]), SEARCH)
    with _after_a_kill(engine, path) as reopened:
        assert _settled_at(reopened, "a", "b") == [2 * ROUNDS + 1, 2 * ROUNDS]
        assert reopened._journal.number == 1 + 2 * ROUNDS + ROUNDS // 20
    # merged on the way, and not only because somebody searched
    assert engine._writes > 2 * (ROUNDS // 20)
    engine.close()
