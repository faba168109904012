"""Answers: records of the store as messages of the service.

The values are those that HTTP and the command line show (`understudy.views`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from understudy.edge.grpc.v1 import understudy_pb2 as v1
from understudy.edge.native.bodies import write
from understudy.views.records import promise_json, task_json
from understudy_store.records import (
    CANCELED,
    PENDING,
    REJECTED,
    RESOLVED,
    TIMEDOUT,
    PromiseRecord,
    TaskRecord,
)

#: Bytes of a page of calls, unless it is a single call; by default clients take 4 MiB.
PAGE_BYTES_MAX: Final = 2 * 1024 * 1024

#: the store's names of states
STATES: Final[Mapping[str, v1.State.ValueType]] = {
    PENDING: v1.STATE_PENDING,
    RESOLVED: v1.STATE_RESOLVED,
    REJECTED: v1.STATE_REJECTED,
    CANCELED: v1.STATE_CANCELED,
    TIMEDOUT: v1.STATE_TIMEDOUT,
}


def call_of(record: PromiseRecord, task: TaskRecord | None = None, trouble: str = "") -> v1.Call:
    """Return a promise, with its task and the trouble that it has, if there are any."""
    shown = promise_json(record)
    return v1.Call(
        id=record.id,
        state=STATES[record.state],
        function=shown["function"] or "",
        param=_value(shown["param"]),
        value=_value(shown["value"]) if record.state == RESOLVED else None,
        error=error_of(shown["error"]) if "error" in shown else None,
        tags=record.tags,
        created_at=record.created_at,
        timeout_at=record.timeout_at,
        settled_at=record.settled_at,
        task=None if task is None else _task(task_json(task)),
        trouble=_text(trouble),
    )


def _value(shown: dict[str, Any]) -> v1.Value:
    return v1.Value(json=write(shown["data"]).decode(), headers=shown["headers"])


def error_of(shown: dict[str, Any]) -> v1.Error:
    """Return a failure, which is given as JSON data."""
    return v1.Error(
        type=_text(shown["type"]),
        message=_text(shown["message"]),
        traceback=_text(shown.get("traceback", "")),
        notes=map(_text, shown.get("notes", ())),
    )


def _task(shown: dict[str, Any]) -> v1.Task:
    return v1.Task(
        state=shown["state"],
        version=shown["version"],
        target=shown["target"],
        node=shown["node"] or "",
        failures=shown["failures"],
        deaths=shown["deaths"],
        cause=_text(shown["cause"] or ""),
        retry_at=shown["retry_at"],
        expires_at=shown["expires_at"],
    )


def _text(text: Any) -> str:
    """Return a text without half characters, which Python allows and protobuf does not."""
    return str(text).encode("utf-8", "replace").decode()


def page_of(records: Iterable[PromiseRecord], cursor: str | None) -> v1.ListResponse:
    """Return a page of calls, as many of the records as there is room for.

    Parameters
    ----------
    cursor
        The id after which the next page begins; None: there is none.
    """
    page = v1.ListResponse(next_page_token=cursor or "")
    size = 0
    for record in records:
        call = call_of(record)
        size += call.ByteSize()
        if page.calls and size > PAGE_BYTES_MAX:
            page.next_page_token = page.calls[-1].id
            break
        page.calls.append(call)
    return page
