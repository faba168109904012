"""Packed promises: pending ones that have been idle for a while, kept in memory as bytes.

A function that sleeps for a week is a suspended task, its timer and a callback: nothing happens to
them, and as objects they take ten times the memory of their content. So a live promise is in one of
two places, never in both: in ``s.promises`` as an object that may be changed, or in ``s.packed`` as
the bytes that `pack` makes of it. Everybody reads through `get`, which unpacks on the way, so
nothing else notices the difference. Timers, children and counts know the ids of both.

A promise is *idle* while it has no task, or one that waits for no node. Restored promises that are
idle are packed at once; others after two rounds of `pack_idle` have found them idle and unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from understudy_store.machine.live import Promise, Task
from understudy_store.machine.state import State
from understudy_store.machine.transitions import HOLDS
from understudy_store.pending_row import TASK_COLUMNS, PendingRow, TaskValues, to_pending_row
from understudy_store.records import Row, TaskState

#: promises that one sweep looks at: a few milliseconds of work, if all of them are packed
_LOOKED_AT_MAX: Final = 1000
#: columns that are set only in states in which a task waits for a node
_HELD_COLUMNS: Final = ("pid", "ttl", "expires_at", "retry_at")
#: places of the other columns of a task
_KEPT: Final = tuple(n for n, name in enumerate(TASK_COLUMNS) if name not in _HELD_COLUMNS)

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode


def is_idle(task_state: TaskState | None) -> bool:
    """Return whether a pending promise, whose task is in this state, waits for no node.

    It waits for a command, for its deadline, or for another promise.
    """
    return task_state not in HOLDS


def pack(
    row: PendingRow,
    callbacks: Sequence[str],
    listeners: Sequence[str],
    warm: str | None = None,
) -> bytes:
    """Encode an idle promise, without its id.

    `warm` is the node that may have its activation. Columns that idle tasks do not have are left
    out.
    """
    promise = (
        row.param_headers,
        row.param_data,
        row.tags,
        row.timeout_at,
        row.created_at,
        callbacks or None,
        listeners or None,
    )
    task = row.task
    if task is None:
        return _encode(promise)
    return _encode((*promise, warm, *[task[place] for place in _KEPT]))


def unpack(promise_id: str, data: bytes) -> Promise:
    """Decode a promise that `pack` has encoded."""
    headers, param, tags, timeout_at, created_at, callbacks, listeners, *rest = _decode(data)
    values = _task_values(rest[1:]) if rest else None
    row = PendingRow(promise_id, headers, param, tags, timeout_at, created_at, task=values).row()
    task = None
    if row.task is not None:
        task = Task.restored(row.promise, row.task)
        task.warm = rest[0]
    promise = Promise(row.promise, task, True)
    promise.callbacks = dict.fromkeys(callbacks) if callbacks else None
    promise.listeners = dict.fromkeys(listeners) if listeners else None
    return promise


def _task_values(kept: Sequence[object]) -> TaskValues:
    values: list[object] = [None] * len(TASK_COLUMNS)
    for place, value in zip(_KEPT, kept, strict=True):
        values[place] = value
    return tuple(values)


def get(s: State, promise_id: str) -> Promise | None:
    """Return the promise, unpacked from now on; None if it is not in memory."""
    promise = s.promises.get(promise_id)
    if promise is None and promise_id in s.packed:
        promise = s.promises[promise_id] = unpack(promise_id, s.packed.pop(promise_id))
    return promise


def all_promises(s: State) -> Iterator[Promise]:
    """Yield every promise in memory; of a packed one a copy, and it stays packed."""
    yield from s.promises.values()
    for promise_id, data in s.packed.items():
        yield unpack(promise_id, data)


def pack_idle(s: State, now: int) -> None:
    """Look at some promises and pack those that the round before has seen as they are now.

    It is part of each sweep, but no sweep is made for its sake.
    """
    if not s.pack_round:
        if now < s.pack_round_at:
            return
        s.pack_round_at = now + s.config.pack_after_ms
        s.pack_round = list(s.promises)
        s.idle_before, s.idle = s.idle, {}
    ids = s.pack_round[-_LOOKED_AT_MAX:]
    del s.pack_round[-_LOOKED_AT_MAX:]
    for promise_id in ids:
        promise = s.promises.get(promise_id)
        if promise is not None and promise_id not in s.dirty and _may_be_packed(promise):
            _pack_if_unchanged(s, promise_id, promise)


def _may_be_packed(promise: Promise) -> bool:
    task = promise.task
    if promise.record.settled_at is not None or not is_idle(None if task is None else task.state):
        return False
    # Only objects remember which crashes may be retracted.
    return task is None or not task.retractable


def _pack_if_unchanged(s: State, promise_id: str, promise: Promise) -> None:
    task = promise.task
    version = 0 if task is None else task.version
    if s.idle_before.get(promise_id) != version:
        s.idle[promise_id] = version
        return
    row = to_pending_row(Row(promise.record, None if task is None else task.record(stored=True)))
    warm = None if task is None else task.warm
    callbacks, listeners = tuple(promise.callbacks or ()), tuple(promise.listeners or ())
    s.packed[promise_id] = pack(row, callbacks, listeners, warm)
    del s.promises[promise_id]
