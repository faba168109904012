"""The stores over databases equal the one in memory, and the comparison finds differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cluster import Cluster
from tests.differential import run
from tests.differential.run import Outcome, Task, command, make_empty, play_one, tasks_of
from understudy_store.changes import Changes
from understudy_store.commands import Reply
from understudy_store.engines.base import Read
from understudy_store.engines.sqlite import engine
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.engines.sqlite.journal_recovery import recover


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_empty(tmp_path_factory.mktemp("differential"))


@pytest.mark.parametrize("seed", range(4))
def test_the_two_stores_are_equal(empty: Path, seed: int) -> None:
    """`make differential` plays a million commands like these."""
    outcome = play_one(Task(seed, 1000, empty))
    assert outcome.failures == []
    assert outcome.counts["commands"] == 1000
    assert outcome.counts["rows"] > 100
    assert {f"replies {status}" for status in (200, 201, 300, 400, 404, 409)} <= {*outcome.counts}


def test_the_store_over_postgresql_is_equal_too(
    postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make differential-postgres` plays 50,000 commands like these."""
    monkeypatch.setattr(run, "REOPEN", 0.2)
    outcome = play_one(Task(5, 500, tmp_path, postgres.url_of("postgres")))
    assert outcome.failures == []
    assert outcome.counts["commands"] == 500
    assert outcome.counts["reopenings"] > 0


def test_a_store_that_was_killed_recovers_from_its_journal(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recovered: list[int] = []

    def counting(*args: Any, **more: Any) -> list[bytes]:
        found = recover(*args, **more)
        recovered.append(len(found))
        return found

    monkeypatch.setattr(engine, "recover", counting)
    monkeypatch.setattr(run, "REOPEN", 0.3)
    outcome = play_one(Task(3, 1000, empty))
    assert outcome.failures == []
    assert sum(found > 0 for found in recovered) > 1


def test_a_seed_has_the_same_outcome_each_time(empty: Path) -> None:
    first, again = (play_one(Task(9, 300, empty)) for _ in range(2))
    assert first == again
    assert first != play_one(Task(10, 300, empty))


@pytest.mark.parametrize(
    "lost",
    [
        *("inserted", "updated", "callbacks_added", "callbacks_removed", "listeners_added"),
        *("listeners_removed", "unblocks_added", "unblocks_removed", "schedules_put"),
        "schedules_deleted",
    ],
)
def test_an_engine_that_loses_one_change_is_found(
    empty: Path, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = SqliteEngine.commit

    def wrong(
        self: SqliteEngine, changes: Changes, reads: Sequence[Read], epoch: int
    ) -> list[Reply]:
        kept = getattr(changes, lost)[:-1]
        return right(self, msgspec.structs.replace(changes, **{lost: kept}), reads, epoch)

    monkeypatch.setattr(SqliteEngine, "commit", wrong)
    outcome = _first_failure(empty)
    [(task, text)] = outcome.failures
    assert "Difference at pair.py" in text or "StoreError" in text
    assert command(task) == f"make differential COMMANDS={task.commands} SEED={task.seed}"
    # The printed command plays the same sequence, and fails in the same place.
    [again] = tasks_of(task.commands, task.seed, empty)
    assert play_one(again) == outcome


def test_a_wrong_answer_is_found(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = SqliteEngine.commit

    def wrong(
        self: SqliteEngine, changes: Changes, reads: Sequence[Read], epoch: int
    ) -> list[Reply]:
        replies = right(self, changes, reads, epoch)
        return [msgspec.structs.replace(reply, cursor=None) for reply in replies]

    monkeypatch.setattr(SqliteEngine, "commit", wrong)
    [(_, text)] = _first_failure(empty).failures
    assert "reads" in text
    assert "cursor" in text


def _first_failure(empty: Path) -> Outcome:
    outcomes = (play_one(Task(seed, 300, empty)) for seed in range(20))
    return next(outcome for outcome in outcomes if outcome.failures)
