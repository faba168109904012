"""The writer thread: order, fail-stop, close."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Queue

import pytest

from tests.unit.store.answers import commits_by_writer, found
from tests.unit.store.samples import row, settled
from understudy_store.changes import Changes
from understudy_store.commands import PromiseSearch, Reply
from understudy_store.engines.base import Read
from understudy_store.engines.journaled.memtable import Memtable
from understudy_store.engines.memory import MemoryEngine
from understudy_store.engines.sqlite.database import Database
from understudy_store.errors import StoreClosedError, StoreError, StoreFailedError
from understudy_store.store import CommitResult, Store, open_store

WAIT_S = 30
#: enough that threads which see half of one are caught
COMMITS = 1_000


@pytest.fixture(autouse=True)
def only_writer() -> Iterator[None]:
    """Every commit is the writer's."""
    with commits_by_writer():
        yield


class _BreakingEngine(MemoryEngine):
    """Waits before each commit until it is let go, and breaks at the third."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Semaphore(0)
        self.commits = 0

    def commit(self, changes: Changes, reads: Sequence[Read], epoch: int) -> list[Reply]:
        assert self.go.acquire(timeout=WAIT_S)
        self.commits += 1
        if self.commits == 3:
            raise StoreError("disk on fire")
        return super().commit(changes, reads, epoch)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = open_store("memory" if request.param == "memory" else str(tmp_path / "x.db"))
    yield store
    store.close()


def test_commits_are_done_in_order_and_seen_by_find(store: Store) -> None:
    results: Queue[CommitResult] = Queue()
    for n in range(50):
        changes = Changes(n + 1, inserted=[row(f"p.{n:02}")])
        store.commit(changes, [Read(PromiseSearch(limit=100), 1)], results.put)
    for n in range(50):
        result = results.get(timeout=WAIT_S)
        assert not isinstance(result, StoreFailedError)
        assert result[0].promises == [row(f"p.{k:02}").promise for k in range(n + 1)]
        assert found(store, [f"p.{n:02}"]) == [row(f"p.{n:02}")]


@pytest.fixture
def restless_threads() -> Iterator[None]:
    """Threads take turns after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def eager_follower(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is in the journal is brought into the file all the time; the lengths of its runs."""
    runs: list[int] = []
    real = Database.write

    def write(database: Database, pending: Memtable, number: int) -> None:
        real(database, pending, number)
        runs.append(pending.commits)

    monkeypatch.setattr(Database, "write", write)
    monkeypatch.setattr("understudy_store.engines.journaled.journaled_table.LAG_S", 0.0)
    monkeypatch.setattr("understudy_store.engines.journaled.journaled_table.LAG_ROWS", 2)
    return runs


@pytest.mark.usefixtures("restless_threads")
def test_find_beside_commits(store: Store, eager_follower: list[int]) -> None:
    """A find never sees half a commit, while the writer goes on, and who writes behind it."""
    done = threading.Event()
    a, b = row("a"), row("b")
    store.commit(Changes(1, inserted=[a, b]), [], lambda _: done.set())
    assert done.wait(WAIT_S)
    done.clear()
    for n in range(0, COMMITS, 2):
        pair = [settled(a, n), settled(b, n)]
        store.commit(Changes(2 + n, updated=pair), [], lambda _: None)
        # now the two may be found in different places
        store.commit(Changes(3 + n, updated=[settled(a, n + 1)]), [], lambda _: None)
    store.commit(Changes(0), [], lambda _: done.set())
    seen = []
    while not done.is_set():
        at = {row.promise.id: row.promise.settled_at or 0 for row in found(store, ["a", "b"])}
        assert at["a"] - at["b"] in (0, 1)
        seen.append((at["a"], at["b"]))
    assert seen == sorted(seen)
    assert found(store, ["a"]) == [settled(a, COMMITS - 1)]
    if store.description != "memory (not durable)":
        # else it was not beside
        assert len(eager_follower) > 10


def test_close_does_all_that_is_queued(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "x.db"))
    results: list[CommitResult] = []
    for n in range(20):
        store.commit(Changes(n, inserted=[row(f"p.{n}")]), [], results.append)
    store.close()
    assert results == [[]] * 20
    with pytest.raises(StoreClosedError):
        store.commit(Changes(1), [], results.append)
    with pytest.raises(StoreClosedError):
        found(store, ["p.1"])
    reopened = open_store(str(tmp_path / "x.db"))
    assert len(list(reopened.snapshot.live)) == 20
    assert reopened.snapshot.now == 19
    reopened.close()


def test_nothing_is_done_after_a_failed_commit() -> None:
    engine = _BreakingEngine()
    store = Store(engine)
    results: list[CommitResult] = []
    for n in range(5):
        store.commit(Changes(n, inserted=[row(f"p.{n}")]), [], results.append)
    engine.go.release(5)
    store.close()
    assert results[:2] == [[], []]
    assert [type(result) for result in results[2:]] == [StoreFailedError] * 3
    assert "disk on fire" in str(results[4])
    assert engine.commits == 3
    assert [row.id for row in engine.load().live] == ["p.0", "p.1"]


def test_after_a_failure_find_fails_too(store: Store) -> None:
    results: Queue[CommitResult] = Queue()
    for changes in (Changes(1, inserted=[row("a")]), Changes(2, inserted=[row("a")])):
        store.commit(changes, [], results.put)
    assert results.get(timeout=WAIT_S) == []
    assert isinstance(results.get(timeout=WAIT_S), StoreFailedError)
    with pytest.raises(StoreFailedError, match="acknowledged is safe"):
        found(store, ["a"])


def test_a_commit_that_cannot_be_reported_is_the_last(store: Store) -> None:
    results: Queue[CommitResult] = Queue()

    def done(_result: CommitResult) -> None:
        raise RuntimeError("nobody listens")

    store.commit(Changes(1, inserted=[row("a")]), [], done)
    store.commit(Changes(2, inserted=[row("b")]), [], results.put)
    result = results.get(timeout=WAIT_S)
    assert isinstance(result, StoreFailedError)
    assert isinstance(result.__cause__, RuntimeError)
