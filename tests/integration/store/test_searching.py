"""Searches beside commits: what they see, and how they end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from sqlalchemy import text

from tests.unit.store.samples import row
from understudy_store.changes import Changes
from understudy_store.commands import PromiseSearch, Reply
from understudy_store.engines.base import Engine, Read
from understudy_store.engines.memory import MemoryEngine
from understudy_store.engines.postgres import table as postgres_table
from understudy_store.engines.schemes import open_engine
from understudy_store.engines.sqlite import searcher as sqlite_searcher
from understudy_store.errors import (
    SearchTimeoutError,
    StoreClosedError,
    StoreError,
    StoreFailedError,
    StoreFencedError,
)
from understudy_store.store import SearchResult, Store

WAIT_S = 30.0
ALL = Read(PromiseSearch(limit=1000), 1)
#: a query that goes on and on
_ENDLESS = {
    "sqlite": "with recursive n(x) as (select 1 union all select x + 1 from n) select * from n "
    "where x < 0",
    "postgres": "select pg_sleep(600)",
}


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if kind == "sqlite":
        return str(tmp_path / "x.db")
    made: str = request.getfixturevalue("postgres").new_schema()
    return made


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_engine(url)
    engine.load()
    yield engine
    engine.close()


@pytest.fixture
def endless(kind: str, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Searches never end by themselves; set once one has begun."""
    begun = threading.Event()

    def answer(_queries: Any, _read: Read, ask: Any) -> Reply:
        begun.set()
        list(ask(text(_ENDLESS[kind])))
        raise AssertionError("it ends")

    module = sqlite_searcher if kind == "sqlite" else postgres_table
    monkeypatch.setattr(module, "answer", answer)
    return begun


@pytest.fixture
def held(kind: str, monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """The first look of a search is made, and the others once the second event is set."""
    module: Any = sqlite_searcher if kind == "sqlite" else postgres_table
    looked, goes_on = threading.Event(), threading.Event()
    real = module.answer

    def answer(queries: Any, read: Read, ask: Any) -> Reply:
        reply: Reply = real(queries, read, ask)
        if threading.current_thread() is threading.main_thread():
            return reply  # of a commit
        looked.set()
        assert goes_on.wait(WAIT_S)
        assert real(queries, read, ask) == reply, "it is of one moment"
        return reply

    monkeypatch.setattr(module, "answer", answer)
    return looked, goes_on


def epoch_of(engine: Engine) -> int:
    return int(getattr(engine, "writer", 1))


def create(engine: Engine, id_: str) -> None:
    engine.commit(Changes(1, inserted=[row(id_)]), [], epoch_of(engine))


def ids(reply: Reply) -> list[str]:
    return [promise.id for promise in reply.promises or ()]


def test_a_search_sees_every_commit_before_it(engine: Engine) -> None:
    """Though the table has a commit only a second later, if nobody asks."""
    made = []
    for number in range(50):
        made.append(f"p{number:02}")
        create(engine, made[-1])
        assert ids(engine.search(ALL, WAIT_S)) == made


def test_commits_and_finds_go_on_during_a_search(
    engine: Engine, held: tuple[threading.Event, threading.Event]
) -> None:
    looked, goes_on = held
    create(engine, "before")
    with ThreadPoolExecutor(1) as threads:
        search = threads.submit(engine.search, ALL, WAIT_S)
        assert looked.wait(WAIT_S)
        for number in range(20):
            create(engine, f"meanwhile-{number}")
        # With a read, a commit is in the tables on return.
        [reply] = engine.commit(Changes(0), [ALL], epoch_of(engine))
        assert len(ids(reply)) == 21
        assert len(engine.find(["meanwhile-7", "before"])) == 2
        assert not search.done()
        goes_on.set()
        assert ids(search.result(WAIT_S)) == ["before"]


def test_a_search_that_takes_too_long_ends(
    engine: Engine, endless: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(engine, "p")
    for _ in range(2):
        with pytest.raises(SearchTimeoutError):
            engine.search(ALL, 0.05)
    assert endless.is_set()
    monkeypatch.undo()
    assert ids(engine.search(ALL, WAIT_S)) == ["p"]
    create(engine, "q")


def test_the_end_of_a_store_ends_a_search(url: str, endless: threading.Event) -> None:
    store = Store(open_engine(url))
    answers: Queue[SearchResult] = Queue()
    for _ in range(3):
        store.search(ALL, 600, answers.put)
    assert endless.wait(WAIT_S)
    store.close()
    assert answers.empty(), "nobody is told of a search that was not made"
    with pytest.raises(StoreClosedError):
        store.search(ALL, 1, answers.put)


def test_a_closed_engine_makes_no_search(url: str) -> None:
    engine = open_engine(url)
    engine.load()
    create(engine, "p")
    assert ids(engine.search(ALL, WAIT_S)) == ["p"]
    engine.close()
    with pytest.raises(StoreClosedError):
        engine.search(ALL, WAIT_S)


def test_a_search_does_not_wait_for_a_table_that_gets_no_more(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("database or disk is full")

    create(engine, "p")
    journaled: Any = engine.journaled  # type: ignore[attr-defined]
    monkeypatch.setattr(journaled._table, "write", full)
    create(engine, "q")
    with pytest.raises(StoreError, match="disk is full"):
        engine.search(ALL, WAIT_S)


def test_a_search_in_memory_ends_in_time() -> None:
    engine = MemoryEngine()
    create(engine, "p")
    with pytest.raises(SearchTimeoutError):
        engine.search(ALL, 0)


class _Ending(MemoryEngine):
    """Raises what it is told to."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def search(self, read: Read, time_limit_s: float) -> Reply:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (SearchTimeoutError("x"), 413, "has read for 2.5 s"),
        (StoreError("the disk fails"), 503, "could not be searched: the disk fails"),
        (RuntimeError("odd"), 503, "could not be searched: odd"),
    ],
)
def test_a_search_that_fails_is_refused_and_the_store_goes_on(
    error: Exception, status: int, words: str
) -> None:
    store = Store(_Ending(error))
    answers: Queue[SearchResult] = Queue()
    store.search(ALL, 2.5, answers.put)
    reply = answers.get(timeout=WAIT_S)
    assert isinstance(reply, Reply)
    assert (reply.status, words in (reply.error or "")) == (status, True)
    assert store.commit_here(Changes(1, inserted=[row("p")]), []) == []
    store.close()


def test_a_search_that_finds_another_broker_in_its_place_ends_the_store() -> None:
    store = Store(_Ending(StoreFencedError("another broker")))
    answers: Queue[SearchResult] = Queue()
    store.search(ALL, 1, answers.put)
    assert isinstance(answers.get(timeout=WAIT_S), StoreFailedError)
    with pytest.raises(StoreFailedError):
        store.commit_here(Changes(1, inserted=[row("p")]), [])
    store.search(ALL, 1, answers.put)
    assert isinstance(answers.get(timeout=WAIT_S), StoreFailedError)
    store.close()
