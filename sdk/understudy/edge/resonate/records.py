"""Records as JSON: members that are absent are left out, never null. Pure."""

from __future__ import annotations

from typing import Any, Final

from understudy.edge.resonate.payloads import shown_param, shown_value
from understudy.edge.resonate.tags import BRANCH, shown_schedule_tags, shown_tags
from understudy_store.machine.validation import TIME_MS_MAX
from understudy_store.records import PromiseRecord, ScheduleRecord, TaskRecord, foreign_name

#: the greatest deadline on the wire, which stands for all that are past the greatest we store
WIRE_TIME_MAX: Final = 2**63 - 1

_FIELDS: Final = {"id": "{{.id}}", "timestamp": "{{.timestamp}}"}


def stored_time(at: int) -> int:
    """Return a deadline as it is stored."""
    return min(at, TIME_MS_MAX)


def promise_json(record: PromiseRecord) -> dict[str, Any]:
    """Return a promise."""
    timeout_at = record.timeout_at
    shown: dict[str, Any] = {
        "id": record.id,
        "state": record.state,
        "param": shown_param(record.param),
        "value": shown_value(record),
        "tags": shown_tags(record.id, record.tags),
        "timeoutAt": WIRE_TIME_MAX if timeout_at >= TIME_MS_MAX else timeout_at,
        "createdAt": record.created_at,
    }
    if record.settled_at is not None:
        shown["settledAt"] = record.settled_at
    return shown


def task_json(record: TaskRecord) -> dict[str, Any]:
    """Return a task."""
    shown: dict[str, Any] = {
        "id": record.id,
        "state": record.state,
        "version": record.version,
        "resumes": len(record.resumes),
    }
    if record.pid is not None:
        shown["ttl"] = record.ttl
        name = foreign_name(record.pid)
        shown["pid"] = record.pid if name is None else name
    return shown


def schedule_json(record: ScheduleRecord) -> dict[str, Any]:
    """Return a schedule."""
    shown: dict[str, Any] = {
        "id": record.id,
        "cron": record.cron,
        "promiseId": shown_template(record.promise_id),
        "promiseTimeout": record.promise_timeout,
        "promiseParam": shown_param(record.promise_param),
        "promiseTags": shown_schedule_tags(record.promise_tags),
        "createdAt": record.created_at,
        "nextRunAt": record.next_run_at,
    }
    if record.last_run_at is not None:
        shown["lastRunAt"] = record.last_run_at
    return shown


def shown_template(promise_id: str) -> str:
    """Return the template of an id as it is shown."""
    for ours, theirs in _FIELDS.items():
        promise_id = promise_id.replace(f"{{{ours}}}", theirs)
    return promise_id


def stored_template(promise_id: str) -> str:
    """Return the template of an id as the machine reads it."""
    for ours, theirs in _FIELDS.items():
        promise_id = promise_id.replace(theirs, f"{{{ours}}}")
    return promise_id


def branch_of(record: PromiseRecord) -> str | None:
    """Return the branch that a promise belongs to; None if it has none."""
    return shown_tags(record.id, record.tags).get(BRANCH)
