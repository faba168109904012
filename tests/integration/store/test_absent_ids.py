"""What is in the store is found, whatever is thought to be new: no promise is made a second time.

An id is not looked for where it cannot be. Each test has a find come at a moment, or name an id,
that could make the engine believe so of one that is there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from threading import Event, Thread
from typing import Final, TypeAlias, TypeVar

import pytest

from tests.integration.store.journal_world import (
    SEARCH,
    after_a_kill,
    flush,
    insert,
    settle,
    too_large,
)
from tests.support import eventually
from tests.unit.store.samples import row, settled
from understudy_store.changes import Changes
from understudy_store.engines.base import SOLE_EPOCH
from understudy_store.engines.journaled.absent_ids import AbsentIds
from understudy_store.engines.journaled.memtable import Memtable
from understudy_store.engines.sqlite.database import Database
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.records import Row

pytestmark = pytest.mark.usefixtures("small_halves", "idle")

T = TypeVar("T")


def _found(engine: SqliteEngine, *ids: str) -> list[str]:
    return sorted(row.promise.id for row in engine.find(ids))


def _insert_large(engine: SqliteEngine, id_: str) -> None:
    engine.commit(Changes(1, inserted=[too_large(id_)]), [], SOLE_EPOCH)


def _seal(engine: SqliteEngine) -> None:
    """What was committed is about to be brought in, and is not yet."""
    with engine.journaled._append_lock:
        if engine.journaled.view.active and not engine.journaled.view.sealed:
            engine.journaled._seal()


@pytest.fixture
def looks(engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The ids that were looked for in the file, look by look."""
    seen: list[list[str]] = []
    first_from, find = engine._database.first_from, engine._database.find

    def on_first_from(id_: str) -> str | None:
        seen.append([id_])
        return first_from(id_)

    def on_find(ids: Collection[str]) -> list[Row]:
        seen.append(list(ids))
        return find(ids)

    monkeypatch.setattr(engine._database, "first_from", on_first_from)
    monkeypatch.setattr(engine._database, "find", on_find)
    return seen


# ---- what it is for --------------------------------------------------------------------------


def test_the_next_child_is_not_looked_for(engine: SqliteEngine, looks: list[list[str]]) -> None:
    """Once the root was, and wherever the children are by now."""
    insert(engine, "a/", "b")
    flush(engine)
    assert _found(engine, "a") == []
    assert looks == [["a"]]
    insert(engine, "a")
    for number in range(1, 20):
        assert _found(engine, f"a.{number}") == []
        assert _found(engine, f"a.{number}", f"a.{number}.1", f"a.{number + 1}") == []
        insert(engine, f"a.{number}")
        if number % 5 == 0:
            flush(engine)
    assert looks == [["a"]]
    # what may be there is looked for, and only that
    assert _found(engine, "a.1", "a.20", "b", "a.x") == ["a.1", "b"]
    assert looks == [["a"], ["a.1", "b", "a.x"]]


def test_a_root_that_had_children_before_is_not_taken_for_new(
    engine: SqliteEngine, path: Path
) -> None:
    insert(engine, "a.1", "a.3", "b-1", "b!", "b.1")
    with after_a_kill(engine, path) as reopened:
        assert _found(reopened, "a") == []
        assert _found(reopened, "b") == []
        assert _found(reopened, "a.2") == []
        for id_ in ("a.1", "a.3", "b.1"):
            assert _found(reopened, id_) == [id_]


# ---- what is inserted where nobody expects it ------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("place", ["active", "sealed", "file"])
@pytest.mark.parametrize("parent", ["a.1", "a.x", "a.", "a.x.1", "a.-1"])
def test_a_child_that_was_there_before_its_parent(
    parent: str, place: str, known: bool, engine: SqliteEngine
) -> None:
    """It counts as the parent's though an id above both was known; and also once that one is
    forgotten."""
    engine.journaled.view._absent = AbsentIds(6)
    if known:
        assert _found(engine, "a") == []
    # the parent is no longer beyond all that its own parent has
    insert(engine, "a", "a.2", f"{parent}.1")
    if place == "sealed":
        _seal(engine)
    elif place == "file":
        flush(engine)
    assert _found(engine, parent) == []
    flush(engine)
    assert _found(engine, f"{parent}.1") == [f"{parent}.1"]
    for other in ("b", "c", "d"):
        assert _found(engine, other) == []
    assert _found(engine, f"{parent}.1") == [f"{parent}.1"]


@pytest.mark.parametrize("place", ["active", "sealed"])
def test_what_was_known_is_forgotten_before_the_file_has_its_children(
    place: str, engine: SqliteEngine
) -> None:
    engine.journaled.view._absent = AbsentIds(2)
    assert _found(engine, "a") == []
    insert(engine, "a.1")
    if place == "sealed":
        _seal(engine)
    for other in ("b", "c", "d"):
        assert _found(engine, other) == []
    assert _found(engine, "a") == []
    flush(engine)
    assert _found(engine, "a.1") == ["a.1"]


# ---- what is inserted while a find is under way ----------------------------------------------


def _commit(engine: SqliteEngine, id_: str) -> None:
    insert(engine, id_)


def _commit_and_seal(engine: SqliteEngine, id_: str) -> None:
    insert(engine, id_)
    _seal(engine)


def _commit_and_replay(engine: SqliteEngine, id_: str) -> None:
    insert(engine, id_)
    flush(engine)


_Inserting: TypeAlias = Callable[[SqliteEngine, str], None]
WAYS: Final[list[_Inserting]] = [_commit, _commit_and_seal, _commit_and_replay, _insert_large]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("child", ["a.1", "a.x", "a.1.1"])
def test_a_child_comes_after_the_look_at_the_file(
    child: str,
    early: bool,
    way: _Inserting,
    engine: SqliteEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or just before it. The look found nothing; what is learned from that must not be wrong."""
    real = engine._database.first_from
    meanwhile = iter([child])

    def first_from(id_: str) -> str | None:
        found = None if early else real(id_)
        for each in meanwhile:
            way(engine, each)
        return real(id_) if early else found

    monkeypatch.setattr(engine._database, "first_from", first_from)
    assert _found(engine, "a") == []
    assert list(meanwhile) == []
    flush(engine)
    assert _found(engine, "a.1.1", "a.1", "a.x") == [child]
    for above in ("a", "a.1"):
        _found(engine, above)
    assert _found(engine, child) == [child]


@pytest.mark.parametrize("way", [_commit_and_replay, _insert_large])
def test_a_find_while_the_file_is_written(
    way: _Inserting, engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins while a child is on its way into the file, looks before it is there, and learns
    what it learns when all of that is over."""
    real_write, real_look = Database.write, Database.first_from
    looked, go_on = Event(), Event()

    def first_from(database: Database, id_: str) -> str | None:
        found = real_look(database, id_)
        looked.set()
        assert go_on.wait(10)
        return found

    finds = Thread(target=engine.find, args=[["a"]])

    def write(database: Database, pending: Memtable, number: int) -> None:
        if not finds.ident:
            finds.start()
            eventually(lambda: looked.is_set() or not finds.is_alive())
        real_write(database, pending, number)

    monkeypatch.setattr(Database, "write", write)
    monkeypatch.setattr(Database, "first_from", first_from)
    way(engine, "a.1")
    go_on.set()
    finds.join(10)
    assert not finds.is_alive()
    assert _found(engine, "a.1") == ["a.1"]


@pytest.mark.parametrize("way", [_commit_and_replay, _insert_large])
def test_finds_before_and_after_each_write_of_the_file(
    way: _Inserting, engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Database.write
    ids = ["a", "a.1", "a.1.1", "a.2"]

    def write(database: Database, pending: Memtable, number: int) -> None:
        for id_ in ids:
            engine.find([id_])
        real(database, pending, number)
        for id_ in ids:
            engine.find([id_])

    monkeypatch.setattr(Database, "write", write)
    for id_ in ("a.1.1", "a.2", "a"):
        way(engine, id_)
        assert _found(engine, id_) == [id_]
    assert _found(engine, *ids) == ["a", "a.1.1", "a.2"]


@pytest.mark.parametrize("large", [False, True])
def test_what_is_taken_for_new_is_not_missing_beside_what_came_with_it(
    large: bool, engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A find sees no half of a commit: one is not looked for, the other is, after the commit."""
    assert _found(engine, "a") == []
    insert(engine, "b")
    flush(engine)
    real = engine._database.find
    meanwhile = iter([6])

    def find(ids: Collection[str]) -> list[Row]:
        for at in meanwhile:
            made = too_large("a.1") if large else row("a.1")
            changes = Changes(at, inserted=[made], updated=[settled(row("b"), at)])
            engine.commit(changes, [] if large else SEARCH, SOLE_EPOCH)
        return real(ids)

    monkeypatch.setattr(engine._database, "find", find)
    found = {each.promise.id: each.promise.settled_at for each in engine.find(["a.1", "b"])}
    assert found == {"a.1": None, "b": 6}


def test_a_find_does_not_begin_anew_for_nothing(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it came from one look at the file: that is one moment."""
    insert(engine, "a", "b")
    flush(engine)
    real = engine._database.find
    looks: list[list[str]] = []

    def find(ids: Collection[str]) -> list[Row]:
        looks.append(list(ids))
        settle(engine, 5 + len(looks), "a", "b")
        flush(engine)
        return real(ids)

    monkeypatch.setattr(engine._database, "find", find)
    assert _found(engine, "a", "b") == ["a", "b"]
    assert looks == [["a", "b"]]
