"""A waterfall has a row for each promise; children that are alike share one."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.sdk.ui.records import facts, promise, sleep, step, task
from understudy.ui.waterfall import ROWS_MAX, Fold, Row, bar_of, tree_of, waterfall
from understudy_store.records import AttemptRecord


def test_a_bar_tells_queued_running_and_waiting_apart() -> None:
    found = facts(
        promise("a", 0, 100),
        step("a.1", 10, 20),
        promise("a.2", 20, 60),
        sleep("a.3", 60, 90),
        tasks=(task("a", "fulfilled", started_at=10), task("a.2", "fulfilled", started_at=30)),
        now=100,
    )
    rows = [row for row in waterfall(found).rows if isinstance(row, Row)]
    bars = [[(part.kind, part.start, part.end) for part in row.bar] for row in rows]
    assert bars == [
        [("queued", 0, 10), ("running", 10, 20), ("waiting", 20, 90), ("running", 90, 100)],
        [("running", 10, 20)],
        [("queued", 20, 30), ("running", 30, 60)],
        [("waiting", 60, 90)],
    ]
    assert [row.depth for row in rows] == [0, 1, 1, 1]


def test_pauses_between_attempts_are_from_the_log() -> None:
    found = facts(promise("a", 0, 100), now=100)
    log = [
        AttemptRecord("a", 1, 1, "raised", 20, started_at=5),
        AttemptRecord("a", 2, 2, "died", 60, started_at=50),
    ]
    record = task("a", "fulfilled", 3, started_at=5, acquired_at=80)
    parts = bar_of(tree_of(found), record, 100, log)
    assert [(part.kind, part.start, part.end) for part in parts] == [
        ("queued", 0, 5),
        ("running", 5, 20),
        ("retrying", 20, 50),
        ("running", 50, 60),
        ("queued", 60, 80),
        ("running", 80, 100),
    ]


def test_a_task_that_nobody_has_taken_is_queued_all_the_time() -> None:
    found = facts(promise("a", 0), tasks=(task("a", "pending", 0),), now=70)
    (row,) = waterfall(found).rows
    assert isinstance(row, Row)
    assert [(part.kind, part.end) for part in row.bar] == [("queued", 70)]
    assert row.badge.kind == "queued"


def test_ten_thousand_children_are_one_folded_row() -> None:
    children = [promise(f"a.{n}", n, n + 5) for n in range(1, 10_001)]
    found = waterfall(facts(promise("a", 0), *children, now=20_000))
    assert len(found.rows) == 7
    fold = found.rows[-1]
    assert isinstance(fold, Fold)
    assert (fold.parent, fold.count, fold.text) == ("a", 9_995, "9,995 resolved")
    # The time in which they ran is shown, although they are not.
    assert not any(piece.start < 10_000 for piece in found.axis.folds)


def test_a_fold_says_that_some_have_failed() -> None:
    children = [promise(f"a.{n}", 0, 5, state="rejected") for n in range(1, 40)]
    fold = waterfall(facts(promise("a", 0), *children, now=9)).rows[-1]
    assert isinstance(fold, Fold)
    assert fold.has_trouble


def test_rows_beyond_the_bound_are_counted() -> None:
    children = [promise(f"a.{n}", 0, 5, function=f"f{n}") for n in range(1, 700)]
    found = waterfall(facts(promise("a", 0), *children, now=9))
    assert len(found.rows) == ROWS_MAX
    assert found.left_out == 700 - ROWS_MAX


def test_of_a_file_without_tasks_states_are_shown_as_they_are() -> None:
    found = replace(facts(promise("a", 0), now=9), report=None)
    (row,) = waterfall(found).rows
    assert isinstance(row, Row)
    assert row.badge.text == "pending"
