"""What comes into the file a few rows at a time: it holds nobody up, and nobody waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.integration.store.journal_world import (
    BLOCKS,
    NEVER_S,
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
from understudy_store.changes import Changes
from understudy_store.engines.base import SOLE_EPOCH
from understudy_store.engines.journaled import journaled_table
from understudy_store.engines.sqlite import database as database_module
from understudy_store.engines.sqlite.engine import SqliteEngine

pytestmark = pytest.mark.usefixtures("small_halves", "idle")


def fill(engine: SqliteEngine) -> None:
    for number in range(2 * BLOCKS):
        insert(engine, f"more.{number}")


#: how long a pause is that nobody ends: the tests that fail take so long
PAUSE_S: Final = 20.0
#: ends it
HURRIES: Final[dict[str, Callable[[SqliteEngine], object]]] = {
    "a search": flush,
    "the commit that needs the half": fill,
    "a commit that the journal is too small for": lambda engine: engine.commit(
        Changes(1, inserted=[too_large("large")]), [], SOLE_EPOCH
    ),
    "a load": lambda engine: engine.load(),
    "the end": lambda engine: engine.close(),
}


class _Pauses:
    """In the place of the event that ends pauses: counts them."""

    def __init__(self) -> None:
        self.wanted: list[float] = []

    def wait(self, timeout: float) -> None:
        self.wanted.append(timeout)

    def set(self) -> None:
        return

    def clear(self) -> None:
        return


@contextmanager
def in_a_pause(engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the thread behind the journal begin to write `p`, and stay in its first pause; what is
    done meanwhile does not wait for that to be over."""
    monkeypatch.setattr(journaled_table, "PAUSE_S", PAUSE_S)
    insert(engine, "p")
    engine.journaled._flush_now.set()
    eventually(lambda: engine._database._driver.in_transaction)
    began = time.monotonic()
    yield
    assert time.monotonic() - began < PAUSE_S / 2


@pytest.mark.parametrize("hurry", HURRIES.values(), ids=HURRIES.keys())
def test_who_waits_for_the_file_ends_the_pause(
    hurry: Callable[[SqliteEngine], object],
    engine: SqliteEngine,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with in_a_pause(engine, monkeypatch):
        hurry(engine)
    assert "p" in in_file(path)


def test_meanwhile_commits_and_finds_go_on(
    engine: SqliteEngine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_a_pause(engine, monkeypatch):
        insert(engine, "q")
        settle(engine, 5, "p")
        assert settled_at(engine, "p", "q") == [5, None]
        assert in_file(path) == []
        assert ids_of(engine) == ["p", "q"]


def test_the_next_one_pauses_again(
    engine: SqliteEngine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_a_pause(engine, monkeypatch):
        flush(engine)
    settle(engine, 5, "p")
    engine.journaled._flush_now.set()
    eventually(lambda: engine._database._driver.in_transaction)
    assert not engine.journaled._table_wanted.is_set()
    flush(engine)
    assert number_in_file(path) == 2


def test_a_few_rows_at_a_time(
    engine: SqliteEngine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_PAUSED_CHUNK_ROWS", 4)
    pauses = _Pauses()
    monkeypatch.setattr(engine.journaled, "_table_wanted", pauses)
    insert(engine, *(f"p.{number}" for number in range(9)))
    engine.journaled._flush_now.set()
    eventually(lambda: number_in_file(path) == 1)
    assert pauses.wanted == 3 * [journaled_table.PAUSE_S]
    settle(engine, 5, *(f"p.{number}" for number in range(5)))
    engine.journaled._flush_now.set()
    eventually(lambda: number_in_file(path) == 2)
    assert pauses.wanted == 5 * [journaled_table.PAUSE_S]


def test_many_rows_are_brought_in_without_pauses(
    engine: SqliteEngine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journaled_table, "PAUSE_S", NEVER_S)
    monkeypatch.setattr(journaled_table, "PAUSED_ROWS_MAX", 8)
    insert(engine, *(f"p.{number}" for number in range(9)))
    engine.journaled._flush_now.set()
    eventually(lambda: len(in_file(path)) == 9)


def test_who_writes_in_its_own_cause_does_not_pause(
    engine: SqliteEngine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = _Pauses()
    monkeypatch.setattr(engine.journaled, "_table_wanted", pauses)
    insert(engine, "p")
    engine.journaled._flush_now.set()
    eventually(lambda: number_in_file(path) == 1)
    assert len(pauses.wanted) == 1
    insert(engine, "q")
    flush(engine)
    assert in_file(path) == ["p", "q"]
    assert len(pauses.wanted) == 1
