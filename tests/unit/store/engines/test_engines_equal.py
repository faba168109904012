"""Both engines hold the same after the same changes, and so does SQLite after a reopen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.stored_tags import tags_in_order
from tests.unit.store.machine.properties_of_steps import check_read
from tests.unit.store.machine.strategies import IDS, batches, commands, moments
from tests.unit.store.samples import settled, targeted
from understudy_store.changes import Changes, Snapshot
from understudy_store.engines.base import SOLE_EPOCH, Engine, Read
from understudy_store.engines.journaled import journaled_table
from understudy_store.engines.memory import MemoryEngine
from understudy_store.engines.sqlite import journal
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.records import Row

_numbers = count()


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store that is made once, to be copied: a copy opens in milliseconds."""
    path = tmp_path_factory.mktemp("engines") / "empty.db"
    SqliteEngine(path).close()
    yield path
    shutil.rmtree(path.parent)


@pytest.fixture(autouse=True)
def small_journals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is written to its full size when it is made; and nothing is brought in unasked."""
    monkeypatch.setattr(journal, "HALF_BYTES", journal.RECORD_BYTES_MAX)
    monkeypatch.setattr(journaled_table, "LAG_S", 3600.0)


def _copy(empty_store: Path) -> Path:
    path = empty_store.with_name(f"{next(_numbers)}.db")
    shutil.copy(empty_store, path)
    return path


def _killed(engine: SqliteEngine, path: Path) -> SqliteEngine:
    """What a process finds that opens the store as it is on the disk at this moment."""
    copy = path.with_name(f"{next(_numbers)}.db")
    with engine.journaled._append_lock, engine.journaled._table_lock:
        for suffix in ("", "-wal", ".journal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    return SqliteEngine(copy)


def _left(engine: SqliteEngine) -> tuple[Snapshot, dict[str, Row]]:
    """What is in it; then it is closed, and gone."""
    snapshot, found = _sorted(engine.load()), _found(engine)
    engine.close()
    engine._path.unlink()
    return snapshot, found


def _sorted(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(
        snapshot,
        live=sorted(map(tags_in_order, snapshot.live), key=lambda row: row.id),
        callbacks=sorted(snapshot.callbacks),
        listeners=sorted(snapshot.listeners),
        unblocks=sorted(snapshot.unblocks, key=lambda owed: (owed[0].id, owed[1])),
        schedules=sorted(snapshot.schedules, key=lambda schedule: schedule.id),
    )


def _found(engine: Engine) -> dict[str, Row]:
    return {row.promise.id: row for row in engine.find([*IDS, *IDS])}


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
@given(st.data())
def test_engines_are_equal(empty_store: Path, data: st.DataObject) -> None:
    path = _copy(empty_store)
    memory, sqlite = MemoryEngine(), SqliteEngine(path)
    assert _sorted(sqlite.load()) == _sorted(memory.load()) == Snapshot()
    known: dict[str, Row] = {}
    in_journal = 0
    for now in range(10, 10 + data.draw(st.integers(1, 6))):
        changes = data.draw(batches(now, known))
        # Reads bring all into the file: without them it stays in the journal, for others to follow.
        reads = data.draw(st.just([]) | st.lists(st.builds(Read, commands, moments), max_size=4))
        replies = memory.commit(changes, reads, SOLE_EPOCH)
        assert sqlite.commit(changes, reads, SOLE_EPOCH) == replies
        for read, reply in zip(reads, replies, strict=True):
            check_read(known, read, reply)
        assert _found(sqlite) == _found(memory) == known
        in_journal = 0 if reads else in_journal + bool(changes)
        assert sqlite.journaled.view.active.commits == in_journal
        if data.draw(st.booleans()):
            assert _left(_killed(sqlite, path)) == (_sorted(memory.load()), known)
    sqlite.close()
    assert _left(SqliteEngine(path)) == (_sorted(memory.load()), known)


@pytest.mark.parametrize("rows_count", [1, 2, 511, 512, 513, 1500])
def test_batches_of_any_length(empty_store: Path, rows_count: int) -> None:
    """Padding and chunking of statements lose nothing and add nothing."""
    memory, sqlite = MemoryEngine(), SqliteEngine(_copy(empty_store))
    sqlite.load()
    inserted = [targeted(f"a.{n}") for n in range(rows_count)]
    updated = [settled(row) for row in inserted]
    pairs = [(row.promise.id, "x") for row in inserted]
    ids = [row.promise.id for row in inserted]
    for changes in (
        Changes(1, inserted=inserted, callbacks_added=pairs, unblocks_added=pairs),
        Changes(2, updated=updated[1:], callbacks_removed=ids[1:], unblocks_removed=pairs[1:]),
    ):
        assert sqlite.commit(changes, [], SOLE_EPOCH) == memory.commit(changes, [], SOLE_EPOCH)
        assert _sorted(sqlite.load()) == _sorted(memory.load())
        found = {row.promise.id: row for row in sqlite.find([*ids, "unknown"])}
        assert found == {row.promise.id: row for row in memory.find(ids)}
    assert len(list(memory.load().live)) == 1
    sqlite.close()
