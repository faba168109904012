"""Rows as values of columns, and back. On the hot path: plain tuples, no object per column.

The columns of a task are those of `pending_row.TASK_COLUMNS`, as one slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from understudy_store.addresses import group_of
from understudy_store.pending_row import (
    NO_TASK,
    TASK_COLUMNS,
    TaskValues,
    stored_tags,
    task_from_values,
    task_to_values,
    texts_from_json,
    texts_to_json,
    value_from_json,
    whole_tags,
)
from understudy_store.records import (
    COURSE,
    HEADER_FUNCTION,
    PLAN,
    TAG_BRANCH,
    TAG_ORIGIN,
    AttemptRecord,
    PromiseRecord,
    Row,
    ScheduleCourse,
    SchedulePlan,
    ScheduleRecord,
    TaskRecord,
    error_of,
    retention_of,
)
from understudy_store.slots import slot_of, slots_of

#: columns of `insert_values` and `row_of`: all
PROMISE_COLUMNS: Final = (
    *("id", "state", "param_headers", "param_data", "value_headers", "value_data", "tags"),
    *("timeout_at", "created_at", "settled_at", "origin", "branch", "slot", "group_name"),
    *("function", "error", "retention"),
    *TASK_COLUMNS,
)
_TARGET: Final = TASK_COLUMNS.index("target")
#: columns of a task that change: the target never does
_CHANGING: Final = tuple(name for name in TASK_COLUMNS if name != "target")
#: columns of `task_values`: the key, then all that changes while a promise is pending
TASK_UPDATE_COLUMNS: Final = ("id", *_CHANGING)
#: columns of `update_values`: the key, then all that ever changes (semantics: property 5)
UPDATE_COLUMNS: Final = (
    *("id", "state", "value_headers", "value_data", "settled_at", "error"),
    *_CHANGING,
)
#: columns of `attempt_values` and `attempt_of`
ATTEMPT_COLUMNS: Final = (
    *("promise_id", "n", "version", "how", "ended_at", "node", "host", "queued_at", "started_at"),
    *("error", "reason", "slot"),
)
SCHEDULE_COLUMNS: Final = (
    *("id", "cron", "promise_id", "promise_timeout", "param_headers", "param_data"),
    *("promise_tags", "next_run_at", "created_at", "last_run_at", "plan", "course", "slot"),
)

_to_json: Final = msgspec.json.Encoder().encode
_plan_of: Final = msgspec.json.Decoder(SchedulePlan).decode
_course_of: Final = msgspec.json.Decoder(ScheduleCourse).decode

#: data up to this size is copied to make binding it quicker
_COPIED_BYTES_MAX: Final = 16_384
_NO_CHANGING: Final = (None,) * len(_CHANGING)


def _data(data: bytes | None) -> bytes | bytearray | None:
    """Return data in the type that the driver binds soonest.

    For bytes it first asks how to adapt them, which takes 2 µs; a bytearray it just binds.
    """
    return data if data is None or len(data) > _COPIED_BYTES_MAX else bytearray(data)


def _changing_values(task: TaskRecord | None) -> TaskValues:
    if task is None:
        return _NO_CHANGING
    values = task_to_values(task)
    return values[:_TARGET] + values[_TARGET + 1 :]


def insert_values(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """Return the values of `PROMISE_COLUMNS` for each of `rows`.

    The calls of a fan-out share their headers, tags and target, the very objects: what is derived
    from them is derived once for all consecutive rows that do.
    """
    made: list[tuple[Any, ...]] = []
    headers: dict[str, str] | None = None
    tags: dict[str, str] | None = None
    headers_json = tags_json = ""
    origin: str | None = None
    branch: str | None = None
    target: str | None = None
    group: str | None = None
    retention: int | None = None
    slots = slots_of([row.promise.id for row in rows])
    for row, slot in zip(rows, slots, strict=True):
        promise, task = row.promise, row.task
        param, value = promise.param, promise.value
        if param.headers is not headers:
            headers = param.headers
            headers_json = texts_to_json(headers)
        own_target = None if task is None else task.target
        if promise.tags is not tags or own_target != target or promise.id == origin:
            tags = promise.tags
            tags_json = stored_tags(tags, promise.id, own_target)
            origin, branch = tags.get(TAG_ORIGIN), tags.get(TAG_BRANCH)
            retention = retention_of(tags)
        if own_target != target:
            target = own_target
            group = None if target is None else group_of(target)
        function = None
        if task is None:
            values = NO_TASK
        else:
            if origin is None or origin == promise.id:
                function = headers.get(HEADER_FUNCTION, "")
            values = task_to_values(task)
        made.append(
            (
                promise.id,
                promise.state,
                headers_json,
                _data(param.data),
                texts_to_json(value.headers) if value.headers else "{}",
                _data(value.data),
                tags_json,
                promise.timeout_at,
                promise.created_at,
                promise.settled_at,
                promise.id if origin is None else origin,
                branch,
                slot,
                group,
                function,
                error_of(promise) if value.headers else None,
                retention if origin is None or origin == promise.id else None,
                *values,
            )
        )
    return made


def update_values(row: Row) -> tuple[Any, ...]:
    """Return the values of `UPDATE_COLUMNS` for `row`."""
    promise = row.promise
    return (
        promise.id,
        promise.state,
        texts_to_json(promise.value.headers),
        _data(promise.value.data),
        promise.settled_at,
        error_of(promise),
        *_changing_values(row.task),
    )


def task_values(row: Row) -> tuple[Any, ...]:
    """Return the values of `TASK_UPDATE_COLUMNS` for `row`."""
    return (row.promise.id, *_changing_values(row.task))


def row_of(values: Sequence[Any]) -> Row:
    """Return the row whose `PROMISE_COLUMNS` hold `values`."""
    (
        id_,
        state,
        param_headers,
        param_data,
        value_headers,
        value_data,
        tags,
        timeout_at,
        created_at,
        settled_at,
        origin,
        branch,
        _slot,
        _group,
        _function,
        _error,
        _retention,
        *task,
    ) = values
    promise = PromiseRecord(
        id_,
        state,
        value_from_json(param_headers, param_data),
        value_from_json(value_headers, value_data),
        whole_tags(tags, id_, origin, branch, task[_TARGET]),
        timeout_at,
        created_at,
        settled_at,
    )
    return Row(promise, task_from_values(id_, task))


def schedule_values(schedule: ScheduleRecord) -> tuple[Any, ...]:
    """Return the values of `SCHEDULE_COLUMNS` for `schedule`."""
    return (
        schedule.id,
        schedule.cron,
        schedule.promise_id,
        schedule.promise_timeout,
        texts_to_json(schedule.promise_param.headers),
        schedule.promise_param.data,
        texts_to_json(schedule.promise_tags),
        schedule.next_run_at,
        schedule.created_at,
        schedule.last_run_at,
        None if schedule.plan == PLAN else _to_json(schedule.plan).decode(),
        None if schedule.course == COURSE else _to_json(schedule.course).decode(),
        slot_of(schedule.id),
    )


def slotted(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str, int]]:
    """Return rows of the tables of callbacks, listeners and unblocks.

    The first of each pair is the id of the promise to whose slot the row belongs.
    """
    slots = slots_of([id_ for id_, _ in pairs])
    return [(id_, other, slot) for (id_, other), slot in zip(pairs, slots, strict=True)]


def schedule_of(values: Sequence[Any]) -> ScheduleRecord:
    """Return the schedule whose `SCHEDULE_COLUMNS` hold `values`."""
    (
        id_,
        cron,
        promise_id,
        timeout,
        headers,
        data,
        tags,
        next_run_at,
        created_at,
        last_run_at,
        plan,
        course,
        _slot,
    ) = values
    return ScheduleRecord(
        id_,
        cron,
        promise_id,
        timeout,
        value_from_json(headers, data),
        texts_from_json(tags),
        next_run_at,
        created_at,
        last_run_at,
        PLAN if plan is None else _plan_of(plan),
        COURSE if course is None else _course_of(course),
    )


def attempt_values(attempts: Sequence[AttemptRecord]) -> list[tuple[Any, ...]]:
    """Return the values of `ATTEMPT_COLUMNS` for each of `attempts`."""
    slots = slots_of([each.id for each in attempts])
    return [(*astuple(each), slot) for each, slot in zip(attempts, slots, strict=True)]


def attempt_of(values: Sequence[Any]) -> AttemptRecord:
    """Return the attempt whose `ATTEMPT_COLUMNS` hold `values`."""
    return AttemptRecord(*values[:-1])
