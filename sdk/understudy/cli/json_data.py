"""Values and records as plain JSON data. Nothing is ever unpickled."""

from __future__ import annotations

import base64
import json
import math
import shlex
from typing import Any, Final

from understudy.cli.digits import any_length
from understudy.values.decoding import Decoder
from understudy_store.records import (
    HEADER_FUNCTION,
    RESOLVED,
    PromiseRecord,
    ScheduleRecord,
    TaskRecord,
    Value,
)

#: characters of a value in a table
WIDTH: Final = 60


def _describe_pickle(data: memoryview) -> str:
    return f"<pickled, {len(data)} bytes>"


_DECODE: Final = Decoder(_describe_pickle, tagged=False).decode


def decoded(data: bytes | None) -> Any:
    """What `data` holds, as JSON data; text in angle brackets stands for what cannot be shown."""
    if data is None:
        return None
    try:
        with any_length():
            return jsonable(_DECODE(data))
    except Exception:
        return f"<not readable, {len(data)} bytes>"


def jsonable(value: Any) -> Any:
    """JSON has no bytes (they become base64), sets, tuples, dates, or keys that are no text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): jsonable(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((jsonable(item) for item in value), key=str)
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    return str(value)


def compact(value: Any, width: int | None = WIDTH) -> str:
    """JSON on one line, cut to `width` characters."""
    with any_length():
        text = json.dumps(value, ensure_ascii=False)
    return text if width is None or len(text) <= width else f"{text[: width - 1]}…"


def failure(record: PromiseRecord) -> dict[str, Any] | None:
    """What a rejected promise failed with: `type`, `message`, `traceback`, `notes`; else None."""
    if not record.settled or record.state == RESOLVED:
        return None
    if record.state == "rejected_timedout":
        return {"type": "DeadlineExceededError", "message": "its deadline passed"}
    if record.state == "rejected_canceled":
        return {"type": "CanceledError", "message": "it was canceled"}
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


def traceback_of(record: PromiseRecord) -> str:
    """Where it failed, as text that ends without a line break; empty where that is not known."""
    found = failure(record)
    text = "" if found is None else str(found.get("traceback", "")).rstrip()
    # one line only says again what failed: it was never raised
    return text if "\n" in text else ""


def reason(record: PromiseRecord) -> str:
    """A failure in a few words: ``ValueError: no such order``; empty if it has not failed."""
    found = failure(record)
    if found is None:
        return ""
    if record.state != "rejected":
        return str(found["message"])
    message = str(found["message"]).strip().partition("\n")[0]
    return f"{found['type']}: {message}" if message else str(found["type"])


def notes(record: PromiseRecord) -> list[str]:
    """What was added to the exception that it failed with, for whoever must mend it."""
    found = failure(record)
    return [] if found is None else [str(note) for note in found.get("notes", ())]


def value_json(value: Value) -> dict[str, Any]:
    return {"headers": value.headers, "data": decoded(value.data)}


def promise_json(record: PromiseRecord) -> dict[str, Any]:
    """All of it; times in epoch milliseconds. `error` stands there for one that was rejected."""
    shown: dict[str, Any] = {
        "id": record.id,
        "state": record.state,
        "function": record.param.headers.get(HEADER_FUNCTION),
        "param": value_json(record.param),
        "value": value_json(record.value),
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
    """All of it; `node` is the name in `pid`."""
    return {
        "id": task.id,
        "state": task.state,
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


def trouble(task: TaskRecord | None) -> str:
    """What became of those who held it, and what to do; empty if all is well."""
    if task is None or not task.cause or task.state == "fulfilled":
        return ""
    if task.state == "halted":
        return f"{task.cause}; let it go on: understudy tasks continue {shlex.quote(task.id)}"
    times = "once" if task.deaths == 1 else f"{task.deaths} times in a row"
    return f"whoever held it vanished, {times}; the last: {task.cause}"


def schedule_json(schedule: ScheduleRecord) -> dict[str, Any]:
    return {
        "id": schedule.id,
        "cron": schedule.cron,
        "function": schedule.promise_param.headers.get(HEADER_FUNCTION),
        "promise_id": schedule.promise_id,
        "promise_timeout": schedule.promise_timeout,
        "promise_param": value_json(schedule.promise_param),
        "promise_tags": schedule.promise_tags,
        "created_at": schedule.created_at,
        "next_run_at": schedule.next_run_at,
        "last_run_at": schedule.last_run_at,
    }


def node_of(task: TaskRecord) -> str | None:
    """The name of the node that holds it: a pid is ``name#boot``."""
    return None if task.pid is None else task.pid.partition("#")[0]
