"""The bare pipeline stores the same rows as the product; otherwise it would be no measure."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from benchmarks import prepared_stores
from benchmarks.bare_pipeline import disk
from benchmarks.bare_pipeline.messages import Create, Fulfill, Step, Value
from benchmarks.bare_pipeline.parent import running
from understudy_store.changes import Changes
from understudy_store.engines.base import SOLE_EPOCH
from understudy_store.engines.sql.rows import PROMISE_COLUMNS, UPDATE_COLUMNS
from understudy_store.engines.sqlite.engine import SqliteEngine

NOW = 1_700_000_000_000


def test_its_rows_have_as_many_cells_as_the_product_writes() -> None:
    create = Create("a", NOW, Value({}), {})
    step = Step("a", NOW, Value({}), Value({}), {})
    assert len(disk.begun(create, "node", NOW)) == len(PROMISE_COLUMNS)
    assert len(disk.stepped(step, NOW)) == len(PROMISE_COLUMNS)
    fulfill = Fulfill("a", 1, "resolved", Value({}))
    assert len(disk.ended(fulfill, NOW)) == len(UPDATE_COLUMNS)


def test_a_call_is_a_row_that_is_inserted_and_updated(tmp_path: Path) -> None:
    store = disk.Disk(tmp_path / "bare.db")
    create = Create("a.1", NOW + 1, Value({"fn": "noop"}, b"\x91\x01"), {"understudy:origin": "a"})
    step = Step("a.2", NOW + 1, Value({}, b"\x90"), Value({}, b"\x02"), {})
    store.commit([disk.begun(create, "node", NOW), disk.stepped(step, NOW)], [], NOW)
    store.commit([], [disk.ended(Fulfill("a.1", 1, "resolved", Value({}, b"\x01")), NOW)], NOW)
    store.close()
    with sqlite3.connect(tmp_path / "bare.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        rows = connection.execute(
            "SELECT id, state, task_state, version, pid, origin, param_data, value_data, "
            "settled_at FROM promise ORDER BY id"
        ).fetchall()
    connection.close()
    assert rows == [
        ("a.1", "resolved", "fulfilled", 1, None, "a", b"\x91\x01", b"\x01", NOW),
        ("a.2", "resolved", None, None, None, "a.2", b"\x90", b"\x02", NOW),
    ]


def test_it_gives_right_results() -> None:
    with running(nodes=2) as parent:
        assert parent.fan_out(1_000) == 999 * 1_000 // 2
        latencies_ms, results = parent.windowed(30, 5, "hop_a")
        assert results == [3] * 30
        assert len(latencies_ms) == 30
        assert parent.windowed(3, 2, "echo", b"data")[1] == [b"data"] * 3
        assert parent.steps(20, together=False) == 20
        assert parent.steps(2_000, together=True) == 2_000


@pytest.mark.parametrize("count", [0, 1, 2_500])
def test_a_store_that_was_filled_is_one_of_ours(tmp_path: Path, count: int) -> None:
    prepared_stores.settled(tmp_path / "past.db", count)
    prepared_stores.sleeping(tmp_path / "asleep.db", count)
    past, asleep = SqliteEngine(tmp_path / "past.db"), SqliteEngine(tmp_path / "asleep.db")
    try:
        assert not list(past.load().live)
        snapshot = asleep.load()
        assert len(list(snapshot.live)) == 2 * count
        assert len(list(snapshot.callbacks)) == count
        if count:
            (found,) = past.find(["past-000000.1"])
            assert found.task is not None
            assert found.task.state == "fulfilled"
        else:
            assert past.find(["past-000000.1"]) == []
        asleep.commit(Changes(now=NOW), [], SOLE_EPOCH)
    finally:
        past.close()
        asleep.close()
