"""Messages to listeners, as lines of an event stream. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from understudy.edge.resonate.records import promise_json
from understudy_store.records import PromiseRecord

_encode = msgspec.json.Encoder().encode


def execute_event(id_: str, version: int, server_url: str) -> bytes:
    """Return the offer of a task.

    Examples
    --------
    >>> execute_event("a", 0, "http://x")[:22]
    b'data: {"kind":"execute'
    """
    return event(execute_json(id_, version, server_url))


def unblock_event(promise: PromiseRecord) -> bytes:
    """Return the settlement of a promise."""
    return event(unblock_json(promise))


def execute_json(id_: str, version: int, server_url: str) -> dict[str, Any]:
    """Return the message that offers a task."""
    task = {"id": id_, "version": version}
    return {"kind": "execute", "head": {"serverUrl": server_url}, "data": {"task": task}}


def unblock_json(promise: PromiseRecord) -> dict[str, Any]:
    """Return the message that tells a settlement."""
    return {"kind": "unblock", "head": {}, "data": {"promise": promise_json(promise)}}


def event(message: dict[str, Any]) -> bytes:
    """Return a message as an event: one line of data."""
    return b"data: %s\n\n" % _encode(message)
