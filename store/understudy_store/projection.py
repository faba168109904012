"""The projection (semantics: Objects): what a record is at a moment, whatever the row says.

A pending promise whose deadline has passed *is* settled, and its task fulfilled, before a sweep
has written that down too. Pure.
"""

from __future__ import annotations

from understudy_store.changes import Row
from understudy_store.records import (
    EMPTY,
    PENDING,
    RESOLVED,
    TAG_TIMER,
    TIMEDOUT,
    PromiseRecord,
    TaskRecord,
)


def projected(record: PromiseRecord, now: int) -> PromiseRecord:
    """The promise as it is at `now` (epoch milliseconds)."""
    if record.state != PENDING or record.timeout_at > now:
        return record
    return PromiseRecord(
        record.id,
        RESOLVED if record.tags.get(TAG_TIMER) == "true" else TIMEDOUT,
        record.param,
        EMPTY,
        record.tags,
        record.timeout_at,
        record.created_at,
        record.timeout_at,
    )


def projected_task(task: TaskRecord, promise: PromiseRecord, now: int) -> TaskRecord:
    """The task of `promise` as it is at `now`: fulfilled once that is settled."""
    if promise.state == PENDING and promise.timeout_at > now:
        return task
    if task.state == "fulfilled":
        return task
    return TaskRecord(
        task.id,
        "fulfilled",
        task.version,
        task.target,
        failures=task.failures,
        deaths=task.deaths,
        cause=task.cause,
    )


def projected_row(row: Row, now: int) -> Row:
    """Both of a row as they are at `now`."""
    promise = projected(row.promise, now)
    if promise is row.promise and row.promise.state == PENDING:
        return row
    task = None if row.task is None else projected_task(row.task, row.promise, now)
    return Row(promise, task)
