"""Records to columns and back. On the hot path: plain tuples, no object per column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from zlib import crc32

from understudy_store.addresses import parse_target
from understudy_store.changes import Row
from understudy_store.machine.pending_row import (
    PendingRow,
    ids_from_json,
    ids_to_json,
    texts_from_json,
    texts_to_json,
    value_from_json,
)
from understudy_store.records import (
    TAG_BRANCH,
    TAG_ORIGIN,
    PromiseRecord,
    ScheduleRecord,
    TaskRecord,
)

#: columns of `insert_values`: all, in the order of the table
PROMISE_COLUMNS: Final = (
    *("id", "state", "param_headers", "param_data", "value_headers", "value_data", "tags"),
    *("timeout_at", "created_at", "settled_at", "origin", "branch", "shard", "target"),
    *("group_name", "task_state", "version", "pid", "ttl", "expires_at", "retry_at", "resumes"),
    *("failures", "deaths", "cause"),
)
#: columns of `task_values`: the key, then all that changes while a promise is pending
TASK_COLUMNS: Final = (
    *("id", "task_state", "version", "pid", "ttl", "expires_at", "retry_at", "resumes"),
    *("failures", "deaths", "cause"),
)
#: columns of `update_values`: the key, then all that ever changes (semantics: property 5)
UPDATE_COLUMNS: Final = (
    *("id", "state", "value_headers", "value_data", "settled_at"),
    *TASK_COLUMNS[1:],
)
SCHEDULE_COLUMNS: Final = (
    *("id", "cron", "promise_id", "promise_timeout", "param_headers", "param_data"),
    *("promise_tags", "next_run_at", "created_at", "last_run_at"),
)

#: data that is copied for the driver's sake
_COPIED_BYTES_MAX: Final = 16_384
_NO_TASK: Final = (None,) * 10
#: columns of `live_row`
LIVE_COLUMNS: Final = PendingRow.__struct_fields__


def origin_of(promise: PromiseRecord) -> str:
    """The root of its call graph."""
    return promise.tags.get(TAG_ORIGIN, promise.id)


def shard_of(origin: str) -> int:
    """16 bits that stay the same for ever: they are stored."""
    return crc32(origin.encode()) & 0xFFFF


def _data(data: bytes | None) -> bytes | bytearray | None:
    """As the driver binds it soonest: it asks first how to adapt bytes, in 2 µs, and not these."""
    return data if data is None or len(data) > _COPIED_BYTES_MAX else bytearray(data)


def _task_values(task: TaskRecord) -> tuple[Any, ...]:
    return (
        task.state,
        task.version,
        task.pid,
        task.ttl,
        task.expires_at,
        task.retry_at,
        ids_to_json(task.resumes),
        task.failures,
        task.deaths,
        task.cause,
    )


def insert_values(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """What `PROMISE_COLUMNS` hold for each of `rows`.

    Calls of one fan-out share their headers and tags, the very objects: what is made of those is
    made once for all in a row that do.
    """
    made: list[tuple[Any, ...]] = []
    headers: dict[str, str] | None = None
    tags: dict[str, str] | None = None
    headers_json = tags_json = ""
    origin: str | None = None
    branch: str | None = None
    shard = 0
    for row in rows:
        promise, task = row.promise, row.task
        param, value = promise.param, promise.value
        if param.headers is not headers:
            headers = param.headers
            headers_json = texts_to_json(headers)
        if promise.tags is not tags or origin is None:
            tags = promise.tags
            tags_json = texts_to_json(tags)
            origin, branch = tags.get(TAG_ORIGIN), tags.get(TAG_BRANCH)
            shard = 0 if origin is None else shard_of(origin)
        made.append(
            (
                promise.id,
                promise.state,
                headers_json,
                _data(param.data),
                texts_to_json(value.headers),
                _data(value.data),
                tags_json,
                promise.timeout_at,
                promise.created_at,
                promise.settled_at,
                promise.id if origin is None else origin,
                branch,
                shard_of(promise.id) if origin is None else shard,
                *(
                    (None, None, *_NO_TASK)
                    if task is None
                    else (task.target, parse_target(task.target).group, *_task_values(task))
                ),
            )
        )
    return made


def update_values(row: Row) -> tuple[Any, ...]:
    """What `UPDATE_COLUMNS` hold for `row`."""
    promise, task = row.promise, row.task
    return (
        promise.id,
        promise.state,
        texts_to_json(promise.value.headers),
        _data(promise.value.data),
        promise.settled_at,
        *(_NO_TASK if task is None else _task_values(task)),
    )


def task_values(row: Row) -> tuple[Any, ...]:
    """What `TASK_COLUMNS` hold for `row`."""
    task = row.task
    return (row.promise.id, *(_NO_TASK if task is None else _task_values(task)))


def live_row(values: Sequence[Any]) -> PendingRow:
    """The pending promise whose `LIVE_COLUMNS` hold `values`."""
    return PendingRow(*values)


def row_of(values: Sequence[Any]) -> Row:
    """The row whose `PROMISE_COLUMNS` hold `values`."""
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
        _origin,
        _branch,
        _shard,
        target,
        _group,
        task_state,
        version,
        pid,
        ttl,
        expires_at,
        retry_at,
        resumes,
        failures,
        deaths,
        cause,
    ) = values
    promise = PromiseRecord(
        id_,
        state,
        value_from_json(param_headers, param_data),
        value_from_json(value_headers, value_data),
        texts_from_json(tags),
        timeout_at,
        created_at,
        settled_at,
    )
    if target is None:
        return Row(promise)
    task = TaskRecord(
        id_,
        task_state,
        version,
        target,
        pid,
        ttl,
        expires_at,
        retry_at,
        ids_from_json(resumes),
        failures,
        deaths or 0,
        cause,
    )
    return Row(promise, task)


def schedule_values(schedule: ScheduleRecord) -> tuple[Any, ...]:
    """What `SCHEDULE_COLUMNS` hold for `schedule`."""
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
    )


def schedule_of(values: Sequence[Any]) -> ScheduleRecord:
    """The schedule whose `SCHEDULE_COLUMNS` hold `values`."""
    id_, cron, promise_id, timeout, headers, data, tags, next_run_at, created_at, last_run_at = (
        values
    )
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
    )
