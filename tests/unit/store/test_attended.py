"""Lookups and commits that the caller's loop attends to, instead of a thread."""

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
    descriptor = store.attended_commit.descriptor
    assert descriptor is not None
    return bool(select.select([descriptor], [], [], 0)[0])


def test_a_small_commit_is_attended_to(store: Store, engine: AttendedEngine) -> None:
    assert store.commit(SMALL, [], never, attended=True) is None
    assert not is_readable(store)
    assert store.attended_commit.advance() is None
    engine.begun_commit.answer()
    assert is_readable(store)
    assert store.attended_commit.advance() == []
    assert store.attended_commit.descriptor is None
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
    assert store.attended_commit.descriptor is None
    engine.let_commit()
    assert len(results.get(timeout=WAIT_S)) == len(reads)  # type: ignore[arg-type]  # or it fails


def test_so_is_one_that_cannot_be_begun(store: Store, engine: AttendedEngine) -> None:
    engine.begins = False
    results: Queue[CommitResult] = Queue()
    assert store.commit(SMALL, [], results.put, attended=True) is None
    assert store.attended_commit.descriptor is None
    engine.let_commit()
    assert results.get(timeout=WAIT_S) == []


def test_a_commit_does_not_overtake_those_of_the_writer_thread(
    store: Store, engine: AttendedEngine
) -> None:
    results: Queue[CommitResult] = Queue()
    assert store.commit(SMALL, [], results.put) is None
    assert store.commit(Changes(2, inserted=[row("b")]), [], results.put, attended=True) is None
    assert store.attended_commit.descriptor is None
    engine.let_commit(2)
    assert [results.get(timeout=WAIT_S) for _ in range(2)] == [[], []]


def test_the_writer_thread_completes_what_is_cut(store: Store, engine: AttendedEngine) -> None:
    results: Queue[CommitResult] = Queue()
    assert store.commit(SMALL, [], results.put, attended=True) is None
    engine.begun_commit.cut()
    assert store.attended_commit.advance() is None
    assert store.attended_commit.descriptor is None
    assert results.get(timeout=WAIT_S) == []
    engine.let_find()
    assert store.find(["a"]) == SMALL.inserted


def test_a_commit_that_fails_while_it_is_completed_is_the_last(
    store: Store, engine: AttendedEngine
) -> None:
    results: Queue[CommitResult] = Queue()
    assert store.commit(SMALL, [], never, attended=True) is None
    engine.begun_commit.answer()
    assert store.attended_commit.advance() == []
    assert store.commit(SMALL, [], results.put, attended=True) is None
    engine.begun_commit.cut()
    assert store.attended_commit.advance() is None
    failure = results.get(timeout=WAIT_S)
    assert isinstance(failure, StoreFailedError)
    later = Changes(2, inserted=[row("b")])
    assert store.commit(later, [], results.put, attended=True) is None
    assert store.attended_commit.descriptor is None
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
    assert not engine.begun_commit.is_under_way


# ---- lookups -------------------------------------------------------------------------------------


def test_what_memory_tells_is_answered_at_once(store: Store, engine: AttendedEngine) -> None:
    engine.known = {"a", "b"}
    assert store.lookup(["a", "b"], never) == []


def test_a_lookup_is_attended_to(store: Store, engine: AttendedEngine) -> None:
    assert store.commit(SMALL, [], never, attended=True) is None
    engine.begun_commit.answer()
    assert store.attended_commit.advance() == []
    assert store.lookup(["a"], never, attended=True) is None
    assert store.attended_lookup.descriptor is not None
    assert store.attended_lookup.advance() is None
    engine.begun_find.answer()
    assert store.attended_lookup.advance() == SMALL.inserted
    assert store.attended_lookup.descriptor is None


@pytest.mark.parametrize("attended", [True, False])
def test_other_lookups_are_done_by_the_reader_thread(
    store: Store, engine: AttendedEngine, attended: bool
) -> None:
    engine.begins = not attended
    found: Queue[LookupResult] = Queue()
    assert store.lookup(["a"], found.put, attended=attended) is None
    assert store.attended_lookup.descriptor is None
    engine.let_find()
    assert found.get(timeout=WAIT_S) == []


def test_no_lookup_is_attended_to_beside_what_the_reader_thread_does(
    store: Store, engine: AttendedEngine
) -> None:
    """That may wait for this one to be over, and this one be completed after that."""
    found: Queue[LookupResult] = Queue()
    assert store.lookup(["a"], found.put) is None
    assert store.lookup(["b"], found.put, attended=True) is None
    assert store.attended_lookup.descriptor is None
    engine.let_find(2)
    assert [found.get(timeout=WAIT_S) for _ in range(2)] == [[], []]


def test_the_reader_thread_completes_a_lookup_that_is_cut(
    store: Store, engine: AttendedEngine
) -> None:
    found: Queue[LookupResult] = Queue()
    assert store.lookup(["a"], found.put, attended=True) is None
    engine.begun_find.cut()
    assert store.attended_lookup.advance() is None
    assert found.get(timeout=WAIT_S) == []


def test_close_completes_a_lookup(engine: AttendedEngine) -> None:
    store = Store(engine)
    found: Queue[LookupResult] = Queue()
    assert store.lookup(["a"], found.put, attended=True) is None
    store.close()
    assert found.get(timeout=WAIT_S) == []
    assert not engine.begun_find.is_under_way
