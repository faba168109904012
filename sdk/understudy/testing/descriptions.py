"""Checkpoints in words: what a frame writes to the store, what a node is given to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from understudy_broker.protocol.frames import DEFAULT_LIMITS, decode_to_broker
from understudy_broker.protocol.messages import AnyCommand, Invoke, Request, Resume
from understudy_store.commands import (
    PromiseCancel,
    PromiseCreate,
    PromiseSettle,
    TaskFence,
    TaskFulfill,
    TaskRelease,
    TaskSuspend,
)
from understudy_store.records import HEADER_FUNCTION, HEADER_KIND, RESOLVED, PromiseRecord, Value

#: Finds the record of a promise that is stored.
Find = Callable[[str], PromiseRecord | None]


def describe_writes(frame: bytes, find: Find) -> str | None:
    """Say what a node's frame writes to the store; None if it writes nothing."""
    texts = []
    for message in decode_to_broker(frame, DEFAULT_LIMITS):
        if isinstance(message, Request):
            text = _command(message.command, find)
            if text is not None:
                texts.append(text)
    return ", ".join(texts) or None


def describe_tasks(messages: Sequence[Invoke | Resume]) -> str:
    """Say which tasks a node is handed."""
    return ", ".join(f"{label(m.promise.id, m.promise.param)} is handed over" for m in messages)


def label(id: str, param: Value | None) -> str:
    """Return the function (or the kind) of a promise and its id: ``charge order-7.2``."""
    headers = {} if param is None else param.headers
    name = headers.get(HEADER_FUNCTION) or headers.get(HEADER_KIND) or "promise"
    return f"{name} {id}"


def _command(command: AnyCommand, find: Find) -> str | None:
    if isinstance(command, TaskFence):
        return ", ".join(_child(child, command, find) for child in command.commands)
    if isinstance(command, TaskFulfill):
        return f"{_end(command.state)} {_stored(command.id, find)}"
    if isinstance(command, TaskSuspend):
        return f"{_stored(command.id, find)} waits"
    if isinstance(command, TaskRelease):
        return f"{_stored(command.id, find)} will be tried again"
    if isinstance(command, PromiseCancel):
        return f"{_stored(command.id, find)} is canceled"
    return None


def _child(command: PromiseCreate | PromiseSettle, fence: TaskFence, find: Find) -> str:
    if isinstance(command, PromiseCreate):
        return f"the call of {label(command.id, command.param)}"
    created = [c for c in fence.commands if isinstance(c, PromiseCreate) and c.id == command.id]
    text = label(command.id, created[0].param) if created else _stored(command.id, find)
    return f"{_end(command.state)} {text}"


def _end(state: str) -> str:
    return "the result of" if state == RESOLVED else "the failure of"


def _stored(id: str, find: Find) -> str:
    record = find(id)
    return label(id, None if record is None else record.param)
