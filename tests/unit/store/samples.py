"""Plain rows for tests of the store."""

from __future__ import annotations

from understudy_store.records import EMPTY, TAG_TARGET, PromiseRecord, Row, TaskRecord, Value

DEADLINE = 10**13
TARGET = "poll://any@g"


def row(id_: str, **tags: str) -> Row:
    """A pending promise without a task."""
    return Row(PromiseRecord(id_, "pending", Value({"fn": "f"}, b"1"), EMPTY, tags, DEADLINE, 1))


def targeted(id_: str, **tags: str) -> Row:
    """A pending promise with its task acquired."""
    promise = row(id_, **{TAG_TARGET: TARGET}, **tags).promise
    return Row(promise, TaskRecord(id_, "acquired", 1, TARGET, "n1", 10, 11))


def settled(row: Row, at: int = 5) -> Row:
    """The same, resolved."""
    promise, task = row.promise, row.task
    if task is not None:
        task = TaskRecord(task.id, "fulfilled", task.version, task.target)
    return Row(
        PromiseRecord(
            promise.id,
            "resolved",
            promise.param,
            Value({}, b"2"),
            promise.tags,
            promise.timeout_at,
            promise.created_at,
            at,
        ),
        task,
    )
