"""The store over its engines: answers at once or later, order, fencing, schemes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue

import pytest
from msgspec.structs import replace

from tests.unit.store.later_engine import WAIT_S, LaterEngine
from tests.unit.store.samples import row
from understudy_store.changes import Changes, Snapshot
from understudy_store.commands import PromiseSearch
from understudy_store.engines.base import SOLE_EPOCH, Engine, Read
from understudy_store.engines.memory import MemoryEngine
from understudy_store.engines.schemes import ENGINES, open_engine
from understudy_store.errors import (
    StoreAddressError,
    StoreClosedError,
    StoreFailedError,
    StoreFencedError,
)
from understudy_store.records import Row, Value
from understudy_store.store import (
    INLINE_BYTES_MAX,
    INLINE_ROWS_MAX,
    CommitResult,
    LookupResult,
    Store,
    open_store,
)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = open_store("memory" if request.param == "memory" else str(tmp_path / "x.db"))
    yield store
    store.close()


@pytest.fixture
def engine() -> LaterEngine:
    return LaterEngine()


@pytest.fixture
def later(engine: LaterEngine) -> Iterator[Store]:
    store = Store(engine)
    yield store
    engine.let_find(1000)
    engine.let_commit(1000)
    store.close()


def never(_result: object) -> None:
    raise AssertionError("it was answered at once, and again later")


def rows(count: int, data: bytes | None = None) -> Changes:
    records = [replace(row(f"p.{n}").promise, param=Value({}, data)) for n in range(count)]
    return Changes(1, inserted=[Row(record) for record in records])


# ---- engines that answer at once -----------------------------------------------------------------


def test_a_store_that_only_one_broker_can_open_has_no_share(store: Store) -> None:
    assert store.share is None


def test_a_lookup_is_answered_at_once(store: Store) -> None:
    assert store.commit(rows(1), [], never) == []
    assert store.lookup(["p.0", "nobody"], never) == rows(1).inserted


def test_a_small_commit_is_done_on_the_thread_that_asks(store: Store) -> None:
    assert store.commit(rows(INLINE_ROWS_MAX), [], never) == []


@pytest.mark.parametrize(
    ("changes", "reads"),
    [
        (rows(INLINE_ROWS_MAX + 1), []),
        (rows(1, bytes(INLINE_BYTES_MAX + 1)), []),
        (rows(1), [Read(PromiseSearch(), 1)]),
    ],
    ids=["rows", "bytes", "reads"],
)
def test_a_large_commit_is_left_to_the_writer(
    store: Store, changes: Changes, reads: list[Read]
) -> None:
    results: Queue[CommitResult] = Queue()
    assert store.commit(changes, reads, results.put) is None
    result = results.get(timeout=WAIT_S)
    assert isinstance(result, list)
    assert len(result) == len(reads)
    assert store.lookup(["p.0"], never) == changes.inserted[:1]


def test_a_small_commit_does_not_overtake_a_large_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: Queue[str] = Queue()
    go = threading.Event()
    real = store._engine.commit  # the seam of this test: the engine's commit, made slow

    def commit(*args: object) -> object:
        assert go.wait(WAIT_S)
        return real(*args)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(store._engine, "commit", commit)
    assert store.commit(rows(INLINE_ROWS_MAX + 1), [], lambda _: done.put("large")) is None
    small = Changes(2, inserted=[row("small")])
    assert store.commit(small, [], lambda _: done.put("small")) is None
    go.set()
    assert [done.get(timeout=WAIT_S) for _ in range(2)] == ["large", "small"]


def test_once_the_writer_has_reported_small_commits_are_done_at_once_again(store: Store) -> None:
    results: Queue[CommitResult] = Queue()

    def report(_result: CommitResult) -> None:
        # still on the writer's thread: it counts as idle from the moment in which it reports
        again = store.commit(Changes(2, inserted=[row("small")]), [], never)
        assert again is not None
        results.put(again)

    assert store.commit(rows(INLINE_ROWS_MAX + 1), [], report) is None
    assert results.get(timeout=WAIT_S) == []


# ---- an engine that answers later ----------------------------------------------------------------


def test_a_lookup_comes_later(later: Store, engine: LaterEngine) -> None:
    found: Queue[LookupResult] = Queue()
    assert later.lookup(["a"], found.put) is None
    assert found.empty()
    engine.let_find()
    assert found.get(timeout=WAIT_S) == []


def test_a_small_commit_comes_later_too(later: Store, engine: LaterEngine) -> None:
    results: Queue[CommitResult] = Queue()
    assert later.commit(rows(1), [], results.put) is None
    assert results.empty()
    engine.let_commit()
    assert results.get(timeout=WAIT_S) == []


def test_lookups_do_not_wait_for_commits(later: Store, engine: LaterEngine) -> None:
    found: Queue[LookupResult] = Queue()
    assert later.commit(rows(1), [], lambda _: None) is None
    assert later.lookup(["p.0"], found.put) is None
    engine.let_find()
    assert found.get(timeout=WAIT_S) == []


def test_answers_come_in_order(later: Store, engine: LaterEngine) -> None:
    found: Queue[tuple[int, LookupResult]] = Queue()

    def note(number: int) -> Callable[[LookupResult], None]:
        return lambda result: found.put((number, result))

    for number in range(5):
        assert later.lookup([str(number)], note(number)) is None
    engine.let_find(5)
    assert [found.get(timeout=WAIT_S) for _ in range(5)] == [(n, []) for n in range(5)]


def test_close_answers_what_was_asked(engine: LaterEngine) -> None:
    store = Store(engine)
    found: Queue[object] = Queue()
    assert store.lookup(["a"], found.put) is None
    assert store.commit(rows(1), [], found.put) is None
    engine.let_find()
    engine.let_commit()
    store.close()
    assert [found.get_nowait() for _ in range(2)] == [[], []]
    for ask in (lambda: store.lookup(["a"], never), lambda: store.commit(rows(1), [], never)):
        with pytest.raises(StoreClosedError):
            ask()


# ---- failure and fencing -------------------------------------------------------------------------


def test_after_a_failure_every_answer_is_that_failure(store: Store) -> None:
    assert store.commit(rows(1), [], never) == []
    failure = store.commit(rows(1), [], never)
    assert isinstance(failure, StoreFailedError)
    assert store.commit(Changes(2, inserted=[row("b")]), [], never) is failure
    assert store.lookup(["p.0"], never) is failure


class _TakenOver(MemoryEngine):
    """An engine whose store another broker has taken over since it was loaded."""

    def load(self) -> Snapshot:
        snapshot = super().load()
        snapshot.epoch = SOLE_EPOCH - 1
        return snapshot


def test_a_store_repeats_the_epoch_that_it_loaded() -> None:
    store = Store(_TakenOver())
    failure = store.commit(rows(1), [], never)
    assert isinstance(failure, StoreFailedError)
    assert isinstance(failure.__cause__, StoreFencedError)
    assert "Another broker" in str(failure)
    assert store.snapshot.epoch == SOLE_EPOCH - 1
    store.close()


def test_engines_refuse_a_foreign_epoch(tmp_path: Path) -> None:
    engines: list[Engine] = [open_engine("memory"), open_engine(str(tmp_path / "x.db"))]
    for engine in engines:
        with pytest.raises(StoreFencedError):
            engine.commit(rows(1), [], SOLE_EPOCH + 1)
        # nothing was written, and the engine goes on
        assert engine.find(["p.0"]) == []
        assert engine.commit(rows(1), [], SOLE_EPOCH) == []
        engine.close()


# ---- schemes -------------------------------------------------------------------------------------


def test_engines_are_chosen_by_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    made = MemoryEngine()
    monkeypatch.setitem(ENGINES, "ours", lambda url, _: made if url.endswith("/a") else None)
    assert open_engine("ours://host/a") is made
    with pytest.raises(StoreAddressError):
        open_engine("ours://host/b")


def test_programs_without_a_loop_ask_and_wait(engine: LaterEngine) -> None:
    store = Store(engine)
    engine.let_commit()
    engine.let_find()
    assert store.commit_here(rows(1), []) == []
    assert [found.promise.id for found in store.find(["p.0", "b"])] == ["p.0"]
    engine.let_commit()
    with pytest.raises(StoreFailedError):
        store.commit_here(rows(1), [])  # it exists
    with pytest.raises(StoreFailedError):
        store.find(["p.0"])
    store.close()
    with pytest.raises(StoreClosedError):
        store.find(["p.0"])
    with pytest.raises(StoreClosedError):
        store.commit_here(rows(1), [])
