"""Texts of a store's owner, and a snapshot of some slots only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest

from tests.unit.store.samples import row, settled, targeted
from understudy_store.changes import Changes
from understudy_store.commands import Reply
from understudy_store.engines.base import SOLE_EPOCH
from understudy_store.engines.memory import MemoryEngine
from understudy_store.errors import StoreClosedError, StoreError
from understudy_store.records import EMPTY, ScheduleRecord
from understudy_store.slots import slot_of
from understudy_store.store import Store, open_store


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = "memory" if request.param == "memory" else f"sqlite:///{tmp_path}/x.db"
    store = open_store(url)
    yield store
    store.close()


def test_a_fact_is_kept_and_replaced(store: Store) -> None:
    assert store.fact("placement") is None
    store.put_fact("placement", "one")
    store.put_fact("other", "two")
    store.put_fact("placement", "three")
    assert (store.fact("placement"), store.fact("other")) == ("three", "two")


def test_facts_of_the_owner_are_not_those_of_the_engine(store: Store) -> None:
    for key in ("now", "commit", "store", "journal"):
        assert store.fact(key) is None
        store.put_fact(key, "mine")


def test_no_fact_is_put_while_the_store_is_at_work(store: Store) -> None:
    store.put_fact("placement", "one")
    store.commit_here(Changes(5, inserted=[row("p")]), [])
    with pytest.raises(StoreError, match="is at work: placement stays as it is"):
        store.put_fact("placement", "two")
    assert store.fact("placement") == "one"


def test_a_fact_is_kept_beside_commits(store: Store) -> None:
    store.commit_here(Changes(5, inserted=[row("p")]), [])
    kept: Queue[object] = Queue()
    store.keep_fact("pauses", "one", kept.put)
    store.keep_fact("pauses", "two", kept.put)
    store.commit_here(Changes(6, inserted=[row("q")]), [])
    assert [kept.get(timeout=10), kept.get(timeout=10)] == [Reply(200), Reply(200)]
    assert store.fact("pauses") == "two"


def test_a_fact_that_cannot_be_kept_is_refused_and_the_store_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_key: str, _text: str) -> None:
        raise StoreError("no room")

    engine = MemoryEngine()
    monkeypatch.setattr(engine, "put_fact", fail)
    store = Store(engine)
    kept: Queue[object] = Queue()
    store.keep_fact("pauses", "one", kept.put)
    assert kept.get(timeout=10) == Reply(503, "pauses could not be kept: no room")
    store.commit_here(Changes(5, inserted=[row("p")]), [])
    store.close()


def test_a_closed_store_has_no_facts(store: Store) -> None:
    store.close()
    with pytest.raises(StoreClosedError):
        store.fact("placement")
    with pytest.raises(StoreClosedError):
        store.put_fact("placement", "one")


def test_facts_outlive_the_store(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    store = open_store(url)
    store.put_fact("placement", "one")
    store.commit_here(Changes(5, inserted=[row("p")]), [])
    store.close()
    store = open_store(url)
    assert store.fact("placement") == "one"
    assert store.snapshot.now == 5
    store.close()


def test_a_snapshot_of_some_slots_has_nothing_of_the_others() -> None:
    homes = [f"h{number}" for number in range(40)]
    changes = Changes(7)
    for home in homes:
        changes.inserted += [targeted(home), row(f"{home}.1"), settled(row(f"{home}.2"))]
        changes.callbacks_added.append((f"{home}.1", home))
        changes.listeners_added.append((f"{home}.1", "poll://any@g"))
        changes.unblocks_added.append((f"{home}.2", "poll://any@g"))
        changes.schedules_put.append(
            ScheduleRecord(f"{home}.s", "0 3 * * *", "x", 1, EMPTY, {}, 2, 1, None)
        )
    engine = MemoryEngine()
    engine.commit(changes, [], SOLE_EPOCH)
    store = Store(engine)
    kept = {slot_of(home) for home in homes[:15]}
    expected = {home for home in homes if slot_of(home) in kept}
    store.keep_only(kept)
    found = store.snapshot
    for _ in range(2):  # it may be read more than once
        assert {each.id for each in found.live} == expected | {f"{home}.1" for home in expected}
        assert set(found.callbacks) == {(f"{home}.1", home) for home in expected}
        assert {awaited for awaited, _ in found.listeners} == {f"{home}.1" for home in expected}
    assert {promise.id for promise, _ in found.unblocks} == {f"{home}.2" for home in expected}
    assert {each.id for each in found.schedules} == {f"{home}.s" for home in expected}
    assert found.now == 7
    store.close()
