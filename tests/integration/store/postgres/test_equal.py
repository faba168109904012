"""The engine holds what memory holds after the same changes, also when it was killed between."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cluster import Cluster, rows
from tests.integration.store.postgres_world import empty, epoch_of, in_journal, kill, opened
from tests.stored_tags import tags_in_order
from tests.unit.store.machine.properties_of_steps import check_read
from tests.unit.store.machine.strategies import IDS, batches, commands, moments
from tests.unit.store.samples import settled, targeted
from understudy_store.changes import Changes, Snapshot
from understudy_store.engines.base import SOLE_EPOCH, Engine, Read
from understudy_store.engines.memory import MemoryEngine
from understudy_store.records import Row

pytestmark = pytest.mark.usefixtures("idle")


def _sorted(snapshot: Snapshot) -> Snapshot:
    """Without what no two engines share."""
    return msgspec.structs.replace(
        snapshot,
        live=sorted(map(tags_in_order, snapshot.live), key=lambda row: row.id),
        callbacks=sorted(snapshot.callbacks),
        listeners=sorted(snapshot.listeners),
        unblocks=sorted(snapshot.unblocks, key=lambda owed: (owed[0].id, owed[1])),
        schedules=sorted(snapshot.schedules, key=lambda schedule: schedule.id),
        epoch=SOLE_EPOCH,
    )


def _found(engine: Engine) -> dict[str, Row]:
    return {row.promise.id: row for row in engine.find([*IDS, *IDS])}


@pytest.fixture(scope="module")
def shared(postgres: Cluster) -> str:
    """A store that is made once."""
    url = postgres.new_schema()
    opened(url).close()
    return url


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
@given(st.data())
def test_engines_are_equal(shared: str, data: st.DataObject) -> None:
    empty(shared)
    url = shared
    memory, stored = MemoryEngine(), opened(url)
    known: dict[str, Row] = {}
    for now in range(10, 10 + data.draw(st.integers(1, 6))):
        changes = data.draw(batches(now, known))
        # Reads bring all into the tables: without them it stays in the journal.
        reads = data.draw(st.just([]) | st.lists(st.builds(Read, commands, moments), max_size=4))
        replies = memory.commit(changes, reads, SOLE_EPOCH)
        assert stored.commit(changes, reads, epoch_of(stored)) == replies
        for read, reply in zip(reads, replies, strict=True):
            check_read(known, read, reply)
        assert _found(stored) == _found(memory) == known
        assert len(in_journal(url)) == stored.journaled.view.active.commits
        if data.draw(st.integers(0, 2)) == 0:
            kill(stored, url)
            stored = opened(url)
            assert _sorted(stored.load()) == _sorted(memory.load())
    stored.close()
    assert in_journal(url) == []
    stored = opened(url)
    assert _sorted(stored.load()) == _sorted(memory.load())
    assert _found(stored) == known
    stored.close()


@pytest.mark.parametrize("rows_count", [1, 2, 255, 256, 257, 1500])
def test_batches_of_any_length(url: str, rows_count: int) -> None:
    """Chunking loses nothing and adds nothing, and neither do the pages of a load."""
    memory, stored = MemoryEngine(), opened(url)
    epoch = epoch_of(stored)
    inserted = [targeted(f"a.{n}") for n in range(rows_count)]
    pairs = [(row.promise.id, "x") for row in inserted]
    ids = [row.promise.id for row in inserted]
    updated = [settled(row) for row in inserted]
    for changes in (
        Changes(1, inserted=inserted, callbacks_added=pairs, unblocks_added=pairs),
        Changes(2, updated=updated[1:], callbacks_removed=ids[1:], unblocks_removed=pairs[1:]),
    ):
        assert stored.commit(changes, [], epoch) == memory.commit(changes, [], SOLE_EPOCH)
        assert _sorted(stored.load()) == _sorted(memory.load())
        found = {row.promise.id: row for row in stored.find([*ids, "unknown", "with\0nul"])}
        assert found == {row.promise.id: row for row in memory.find(ids)}
    stored.close()


def test_a_commit_that_is_too_large_for_the_journal_goes_to_the_tables(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its place in the order of all, also for whoever opens the store after a kill."""
    monkeypatch.setattr("understudy_store.engines.postgres.log.RECORD_BYTES_MAX", 2000)
    stored = opened(url)
    epoch = epoch_of(stored)
    stored.commit(Changes(1, inserted=[targeted("a")]), [], epoch)
    many = [targeted(f"b.{n}") for n in range(100)]
    stored.commit(Changes(2, inserted=many, updated=[settled(targeted("a"))]), [], epoch)
    assert in_journal(url) == []
    assert rows(url, "select applied from progress") == [(2,)]
    stored.commit(Changes(3, updated=[settled(many[0])]), [], epoch)
    assert in_journal(url) == [(epoch, 3)]
    kill(stored, url)
    again = opened(url)
    found = {each.promise.id: each.promise.settled_at for each in again.find(["a", "b.0", "b.1"])}
    assert found == {"a": 5, "b.0": 5, "b.1": None}
    assert again.load().now == 3
    again.close()


def test_a_full_half_is_brought_to_the_tables(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the memtables nor a takeover grow without bound."""
    monkeypatch.setattr("understudy_store.engines.postgres.log.HALF_BYTES", 2000)
    monkeypatch.setattr("understudy_store.engines.postgres.log.RECORD_BYTES_MAX", 1000)
    stored = opened(url)
    for n in range(120):
        stored.commit(Changes(n + 1, inserted=[targeted(f"a.{n}")]), [], epoch_of(stored))
    # The third half begins only when the first is in the tables.
    assert len(in_journal(url)) < 120
    assert [each.promise.id for each in stored.find(["a.0", "a.39"])] != []
    stored.close()
    again = opened(url)
    assert len(list(again.load().live)) == 120
    again.close()
