"""The progress of running functions, as people and programs see it."""

from __future__ import annotations

import pytest

from understudy.views.progress import (
    progress_json,
    progress_of_promises,
    progress_of_task,
    progress_text,
)
from understudy_store.commands import Reply
from understudy_store.progress import ProgressRecord
from understudy_store.records import EMPTY, TAG_BRANCH, PromiseRecord, TaskRecord


def told(id: str, fraction: float | None = 0.5, text: str = "") -> ProgressRecord:
    return ProgressRecord(id, fraction, text, 7)


def reply(*progress: ProgressRecord) -> Reply:
    return Reply(200, task=TaskRecord("x", "acquired", 1, "g"), progress=progress)


def promise(id: str, **tags: str) -> PromiseRecord:
    return PromiseRecord(id, "pending", EMPTY, EMPTY, tags, 60_000, 1000)


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (told("x", 0.4, "page 12"), "40 % page 12"),
        (told("x", 0.999), "99 %"),
        (told("x", 1.0), "100 %"),
        (told("x", None, "page 12"), "page 12"),
        (None, ""),
    ],
)
def test_text(progress: ProgressRecord | None, text: str) -> None:
    assert progress_text(progress) == text


def test_json() -> None:
    assert progress_json(told("x", 0.4, "a")) == {"fraction": 0.4, "text": "a", "at": 7}
    assert progress_json(None) is None


def test_a_task_speaks_for_itself_or_its_latest_step_does() -> None:
    assert progress_of_task(reply(told("x.2"), told("x"), told("x.1"))) == told("x")
    assert progress_of_task(reply(told("x.2"), told("x.1"))) == told("x.2")
    assert progress_of_task(reply()) is None
    assert progress_of_task(Reply(404)) is None


def test_a_node_speaks_only_for_the_steps_of_its_tasks() -> None:
    records = {
        each.id: each
        for each in (
            promise("x"),
            promise("x.1", **{TAG_BRANCH: "x"}),
            promise("other"),
            promise("other.1", **{TAG_BRANCH: "other"}),
        )
    }
    found = progress_of_promises(
        records, [reply(*map(told, ("x", "x.1", "other", "other.1", "absent"))), Reply(404)]
    )
    assert list(found) == ["x", "x.1"]
