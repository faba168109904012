"""Commits to a distant engine that the caller's loop attends to, instead of a thread."""

from __future__ import annotations

import select
from collections.abc import Iterator
from queue import Queue

import pytest

from tests.unit.store.attended_engine import AttendedEngine
from tests.unit.store.later_engine import WAIT_S
from tests.unit.store.samples import row
from understudy_store.changes import Changes
from understudy_store.commands import PromiseSearch
from understudy_store.engines.base import Read
from understudy_store.errors import StoreFailedError
from understudy_store.store import INLINE_ROWS_MAX, CommitResult, LookupResult, Store

SMALL = Changes(1, inserted=[row("a")])
READS = [Read(PromiseSearch(limit=10), 1)]


@pytest.fixture
def engine() -> AttendedEngine:
    return AttendedEngine()


@pytest.fixture
def store(engine: AttendedEngine) -> Iterator[Store]:
    store = Store(engine)
    yield store
    engine.let_find(1000)
    engine.let_commit(1000)
    store.close()


def never(_result: object) -> None:
    raise AssertionError("a thread has answered what the caller attends to")


def is_readable(store: Store) -> bool:
    assert store.descriptor is not None
    return bool(select.select([store.descriptor], [], [], 0)[0])


def test_a_small_commit_is_attended_to(store: Store, engine: AttendedEngine) -> None:
    assert store.commit(SMALL, [], never, attended=True) is None
    assert not is_readable(store)
    assert store.advance() is None
    engine.answer()
    assert is_readable(store)
    assert store.advance() == []
    assert store.descriptor is None
    engine.let_find()
    assert store.find(["a"]) == SMALL.inserted


@pytest.mark.parametrize(
    ("changes", "reads", "attended"),
    [
        (SMALL, [], False),
        (SMALL, READS, True),
        (Changes(1), READS, True),
        (Changes(1, inserted=[row(f"p.{n}") for n in range(INLINE_ROWS_MAX + 1)]), [], True),
    ],
    ids=["not asked for", "with reads", "reads only", "large"],
)
def test_other_commits_are_done_by_the_writer_thread(
    store: Store, engine: AttendedEngine, changes: Changes, reads: list[Read], attended: bool
) -> None:
    results: Queue[CommitResult] = Queue()
    assert store.commit(changes, reads, results.put, attended=attended) is None
    assert store.descriptor is None
    engine.let_commit()
    assert len(results.get(timeout=WAIT_S)) == len(reads)  # type: ignore[arg-type]  # or it fails


def test_so_is_one_that_cannot_be_begun(store: Store, engine: AttendedEngine) -> None:
    engine.takes_any = False
    results: Queue[CommitResult] = Queue()
    assert store.commit(SMALL, [], results.put, attended=True) is None
    assert store.descriptor is None
    engine.let_commit()
    assert results.get(timeout=WAIT_S) == []


def test_a_commit_does_not_overtake_those_of_the_writer_thread(
    store: Store, engine: AttendedEngine
) -> None:
    results: Queue[CommitResult] = Queue()
    assert store.commit(SMALL, [], results.put) is None
    assert store.commit(Changes(2, inserted=[row("b")]), [], results.put, attended=True) is None
    assert store.descriptor is None
    engine.let_commit(2)
    assert [results.get(timeout=WAIT_S) for _ in range(2)] == [[], []]


def test_the_writer_thread_completes_what_is_cut(store: Store, engine: AttendedEngine) -> None:
    results: Queue[CommitResult] = Queue()
    assert store.commit(SMALL, [], results.put, attended=True) is None
    engine.cut()
    assert store.advance() is None
    assert store.descriptor is None
    assert results.get(timeout=WAIT_S) == []
    engine.let_find()
    assert store.find(["a"]) == SMALL.inserted


def test_a_commit_that_fails_while_it_is_completed_is_the_last(
    store: Store, engine: AttendedEngine
) -> None:
    results: Queue[CommitResult] = Queue()
    assert store.commit(SMALL, [], never, attended=True) is None
    engine.answer()
    assert store.advance() == []
    assert store.commit(SMALL, [], results.put, attended=True) is None
    engine.cut()
    assert store.advance() is None
    failure = results.get(timeout=WAIT_S)
    assert isinstance(failure, StoreFailedError)
    later = Changes(2, inserted=[row("b")])
    assert store.commit(later, [], results.put, attended=True) is None
    assert store.descriptor is None
    assert results.get(timeout=WAIT_S) is failure
    found: Queue[LookupResult] = Queue()
    assert store.lookup(["a"], found.put) is None
    assert found.get(timeout=WAIT_S) is failure


def test_close_completes_it(engine: AttendedEngine) -> None:
    store = Store(engine)
    results: Queue[CommitResult] = Queue()
    assert store.commit(SMALL, [], results.put, attended=True) is None
    store.close()
    assert results.get(timeout=WAIT_S) == []
    assert not engine.is_under_way


def test_what_memory_tells_is_answered_at_once(store: Store, engine: AttendedEngine) -> None:
    found: Queue[LookupResult] = Queue()
    engine.known = {"a", "b"}
    assert store.lookup(["a", "b"], found.put) == []
    assert store.lookup(["a", "c"], found.put) is None
    engine.let_find()
    assert found.get(timeout=WAIT_S) == []
