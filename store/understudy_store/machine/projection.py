"""The projection (semantics: Objects): a record as it is at a moment, whatever the row says.

A pending promise whose deadline has passed *is* settled, and its task fulfilled, before a sweep
has written that down too. Pure.
"""

from __future__ import annotations

from msgspec.structs import replace

from understudy_store.machine.transitions import (
    PROMISE_TRANSITIONS,
    TASK_TRANSITIONS,
    deadline_event,
)
from understudy_store.records import EMPTY, PENDING, PromiseRecord, Row, TaskRecord


def projected(record: PromiseRecord, now: int) -> PromiseRecord:
    """Return the promise as it is at `now` (epoch milliseconds)."""
    if record.state != PENDING or record.timeout_at > now:
        return record
    return PromiseRecord(
        record.id,
        PROMISE_TRANSITIONS[PENDING, deadline_event(record)],
        record.param,
        EMPTY,
        record.tags,
        record.timeout_at,
        record.created_at,
        record.timeout_at,
    )


def projected_task(task: TaskRecord, promise: PromiseRecord, now: int) -> TaskRecord:
    """Return the task of `promise` as it is at `now`: fulfilled once that is settled."""
    if promise.state == PENDING and promise.timeout_at > now:
        return task
    fulfilled = TASK_TRANSITIONS.get((task.state, "settle"))
    if fulfilled is None:
        return task
    return replace(
        task,
        state=fulfilled,
        pid=None,
        ttl=None,
        expires_at=None,
        retry_at=None,
        resumes=(),
        awaits=(),
    )


def projected_row(row: Row, now: int) -> Row:
    """Return promise and task of a row as they are at `now`."""
    promise = projected(row.promise, now)
    if promise is row.promise and row.promise.state == PENDING:
        return row
    task = None if row.task is None else projected_task(row.task, row.promise, now)
    return Row(promise, task)
