"""Promises, tasks and schedules as JSON data, and their failures in words."""

from __future__ import annotations

import re
from typing import Any, Final

from understudy.values.seals import key_id
from understudy.views.json_data import compact, decoded
from understudy_store.records import (
    CANCELED,
    HEADER_FUNCTION,
    PROMISE_WORDS,
    REJECTED,
    RESOLVED,
    TASK_WORDS,
    TIMEDOUT,
    PromiseRecord,
    ScheduleRecord,
    TaskRecord,
    Value,
    name_of,
)

#: characters of a failure on one line
REASON_CHARS_MAX: Final = 300

# JSON data --------------------------------------------------------------------------------------


def promise_json(record: PromiseRecord) -> dict[str, Any]:
    """Return a promise as JSON data; `error` is present if it was rejected."""
    shown: dict[str, Any] = {
        "id": record.id,
        "state": PROMISE_WORDS[record.state],
        "function": record.param.headers.get(HEADER_FUNCTION),
        "param": _value_json(record.param),
        "value": _value_json(record.value),
        "tags": record.tags,
        "created_at": record.created_at,
        "timeout_at": record.timeout_at,
        "settled_at": record.settled_at,
    }
    if (found := failure(record)) is not None:
        shown["error"] = found
        shown["value"]["data"] = None
    return shown


def task_json(task: TaskRecord) -> dict[str, Any]:
    """Return a task as JSON data; `node` is the name in `pid`."""
    return {
        "id": task.id,
        "state": TASK_WORDS[task.state],
        "version": task.version,
        "target": task.target,
        "node": node_of(task),
        "pid": task.pid,
        "ttl": task.ttl,
        "expires_at": task.expires_at,
        "retry_at": task.retry_at,
        "resumes": list(task.resumes),
        "failures": task.failures,
        "deaths": task.deaths,
        "cause": task.cause,
    }


def schedule_json(schedule: ScheduleRecord) -> dict[str, Any]:
    """Return a schedule as JSON data."""
    return {
        "id": schedule.id,
        "cron": schedule.cron,
        "function": schedule.promise_param.headers.get(HEADER_FUNCTION),
        "promise_id": schedule.promise_id,
        "promise_timeout": schedule.promise_timeout,
        "promise_param": _value_json(schedule.promise_param),
        "promise_tags": schedule.promise_tags,
        "created_at": schedule.created_at,
        "next_run_at": schedule.next_run_at,
        "last_run_at": schedule.last_run_at,
        "zone": schedule.plan.zone,
        "overlap": schedule.plan.overlap,
        "catch_up": schedule.plan.catch_up,
        "jitter": schedule.plan.jitter,
        "paused_at": schedule.course.paused_at,
        "paused_until": schedule.course.paused_until,
        "pause_reason": schedule.course.pause_reason,
        "last_id": schedule.course.last_id,
        "waiting": schedule.course.waiting,
        "skipped_at": schedule.course.skipped_at,
        "skipped_why": schedule.course.skipped_why,
    }


def _value_json(value: Value) -> dict[str, Any]:
    return {"headers": value.headers, "data": decoded(value.data)}


# Failures ---------------------------------------------------------------------------------------


def has_failed(record: PromiseRecord) -> bool:
    """Return whether the promise is settled with anything but a value."""
    return record.settled and record.state != RESOLVED


def failure(record: PromiseRecord) -> dict[str, Any] | None:
    """Return the failure of a promise as JSON data; None if it has not failed.

    Its keys are `type` and `message`, and for an exception `traceback` and `notes`; for one that is
    sealed `sealed` and `data`, as `decoded` gives them.
    """
    if not has_failed(record):
        return None
    if record.state == TIMEDOUT:
        return {"type": "DeadlineExceededError", "message": "its deadline passed"}
    if record.state == CANCELED:
        return {"type": "CanceledError", "message": "it was canceled"}
    if id_ := key_id(record.value.data or b""):
        message = f"sealed with the key {id_!r}, and cannot be opened here"
        return {"type": "SealedValueError", "message": message, **decoded(record.value.data)}
    fields = decoded(record.value.data)
    if not isinstance(fields, dict) or not {"module", "name", "message"} <= fields.keys():
        return {"type": "unknown", "message": compact(fields)}
    module = "" if fields["module"] == "builtins" else f"{fields['module']}."
    found = {
        "type": f"{module}{fields['name']}",
        "message": fields["message"],
        "traceback": fields.get("traceback", ""),
    }
    notes = fields.get("notes")
    return found | ({"notes": notes} if notes and isinstance(notes, list) else {})


def failure_traceback(record: PromiseRecord) -> str:
    """Return the traceback of a failure, without a line break at its end; empty if unknown."""
    found = failure(record)
    text = "" if found is None else str(found.get("traceback", "")).rstrip()
    # A single line only repeats the failure: the exception was never raised.
    return text if "\n" in text else ""


def failure_text(record: PromiseRecord) -> str:
    """Return a failure in words, all of it: ``ValueError: no such order``; empty without one."""
    found = failure(record)
    if found is None:
        return ""
    if record.state != REJECTED:
        return str(found["message"])
    message = str(found["message"]).strip()
    return f"{found['type']}: {message}" if message else str(found["type"])


def failure_reason(record: PromiseRecord) -> str:
    """Return a failure on one line, without the end of a message that is a long report."""
    text = " ".join(failure_text(record).split())
    return text if len(text) <= REASON_CHARS_MAX else f"{text[: REASON_CHARS_MAX - 1]}…"


def failure_notes(record: PromiseRecord) -> list[str]:
    """Return the notes that were added to the exception."""
    found = failure(record)
    return [] if found is None else [str(note) for note in found.get("notes", ())]


def without_id(text: str, id_: str) -> str:
    """Return a text with ``…`` for an id, so that texts on many calls can be the same.

    Examples
    --------
    >>> without_id("NonDeterminismError: a.1: the history of 'a'", "a")
    "NonDeterminismError: ….1: the history of '…'"
    """
    return re.sub(rf"(?<![\w-]){re.escape(id_)}(?![\w-])", "…", text)


def node_of(task: TaskRecord) -> str | None:
    """Return the name of the node that holds the task; None if no node does."""
    return None if task.pid is None else name_of(task.pid)
