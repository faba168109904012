"""Cold promises: pending ones that nobody has touched for a while, as bytes.

A function that sleeps for a week is a suspended task, its timer and a callback: nothing happens to
them, and as objects they take ten times what they say. So a live promise is in one of two places,
never in both: in ``s.promises`` as objects that may be changed, or in ``s.cold`` as the bytes that
`freeze` makes of it. Whoever wants a promise asks `look`, which turns bytes back into objects; so
nobody else can tell the difference. Timers, children and counts know the ids of both.

Cold is what a restart found at rest, and what two rounds of `cool` found at rest, the same both
times. At rest is a promise without a task, or with one that waits for something else than a node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from understudy_store.changes import Row
from understudy_store.machine.live import Promise, Task
from understudy_store.machine.pending_row import PendingRow, stored
from understudy_store.machine.state import State
from understudy_store.records import TAG_PRIORITY, PromiseRecord, TaskRecord

#: warm promises that one sweep looks at: a few milliseconds, if all of them become cold
_LOOKED_AT_MAX: Final = 1000
_AT_REST: Final = (None, "suspended", "halted")

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode


def at_rest(task_state: str | None) -> bool:
    """Whether a pending promise waits for a command, its deadline or another promise: no node."""
    return task_state in _AT_REST


def freeze(
    row: PendingRow,
    callbacks: Sequence[str],
    listeners: Sequence[str],
    warm: str | None = None,
) -> bytes:
    """The bytes of a promise at rest, without its id.

    `warm`: the node that may have its activation. What belongs to other states is left out.
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
    if row.target is None:
        return _encode(promise)
    task = (row.target, row.task_state, row.version, row.resumes, row.failures, row.deaths)
    return _encode((*promise, *task, row.cause, warm))


def thaw(promise_id: str, frozen: bytes) -> Promise:
    """The promise of which `freeze` made the bytes."""
    headers, data, tags, timeout_at, created_at, callbacks, listeners, *of_task = _decode(frozen)
    if of_task:
        target, state, version, resumes, failures, deaths, cause, warm = of_task
        row = PendingRow(
            promise_id,
            headers,
            data,
            tags,
            timeout_at,
            created_at,
            target=target,
            task_state=state,
            version=version,
            resumes=resumes,
            failures=failures,
            deaths=deaths,
            cause=cause,
        ).row()
        assert row.task is not None
        task = revive(row.promise, row.task)
        task.warm = warm
        promise = Promise(row.promise, task, True)
    else:
        row = PendingRow(promise_id, headers, data, tags, timeout_at, created_at).row()
        promise = Promise(row.promise, None, True)
    promise.callbacks = dict.fromkeys(callbacks) if callbacks else None
    promise.listeners = dict.fromkeys(listeners) if listeners else None
    return promise


def revive(record: PromiseRecord, row: TaskRecord) -> Task:
    """The task that was stored, but for what only some states have."""
    task = Task(row.id, row.target, int(record.tags.get(TAG_PRIORITY, "0")), row.state)
    task.version = row.version
    task.failures = row.failures
    task.deaths = row.deaths
    task.cause = row.cause
    task.resumes = dict.fromkeys(row.resumes) if row.resumes else None
    return task


def look(s: State, promise_id: str) -> Promise | None:
    """The promise, as objects from now on; None if it is not in memory."""
    promise = s.promises.get(promise_id)
    if promise is None and promise_id in s.cold:
        promise = s.promises[promise_id] = thaw(promise_id, s.cold.pop(promise_id))
    return promise


def in_memory(s: State) -> Iterator[Promise]:
    """Every promise in memory; of a cold one a copy, and it stays cold."""
    yield from s.promises.values()
    for promise_id, frozen in s.cold.items():
        yield thaw(promise_id, frozen)


def cool(s: State, now: int) -> None:
    """Look at some warm promises: those that the round before has seen as they are become cold.

    Part of each sweep; no sweep is made for its sake.
    """
    if not s.round:
        if now < s.round_at:
            return
        s.round_at = now + s.config.cool_after_ms
        s.round = list(s.promises)
        s.rested, s.resting = s.resting, {}
    ids = s.round[-_LOOKED_AT_MAX:]
    del s.round[-_LOOKED_AT_MAX:]
    for promise_id in ids:
        promise = s.promises.get(promise_id)
        if promise is not None and promise_id not in s.dirty and _may_cool(promise):
            _cool_one(s, promise_id, promise)


def _may_cool(promise: Promise) -> bool:
    task = promise.task
    if promise.record.settled_at is not None or not at_rest(None if task is None else task.state):
        return False
    # which death may have been none is remembered only by objects
    return task is None or not task.doubts


def _cool_one(s: State, promise_id: str, promise: Promise) -> None:
    task = promise.task
    version = 0 if task is None else task.version
    if s.rested.get(promise_id) != version:
        s.resting[promise_id] = version
        return
    row = stored(Row(promise.record, None if task is None else task.row()))
    warm = None if task is None else task.warm
    callbacks, listeners = tuple(promise.callbacks or ()), tuple(promise.listeners or ())
    s.cold[promise_id] = freeze(row, callbacks, listeners, warm)
    del s.promises[promise_id]
