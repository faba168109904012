"""Settlement: the one way in which a promise leaves `pending`, with all its consequences.

In one transaction (semantics: Commands): its own task is fulfilled, awaiters are resumed, listeners
are owed their unblock, and callbacks and listeners are gone. An awaiter that is itself past its
deadline is not resumed but settled (semantics: property 14), which may go on through a chain of
thousands: hence a work list instead of recursion.
"""

from __future__ import annotations

from collections.abc import Iterable

from understudy_store.machine import crash_counts, occurrences, packed, task_moves
from understudy_store.machine.live import Promise, Reason, Settlement, Task
from understudy_store.machine.state import State, children_of, unlink
from understudy_store.machine.transitions import (
    PROMISE_TRANSITIONS,
    PromiseEvent,
    deadline_event,
)
from understudy_store.records import (
    EMPTY,
    TAG_BRANCH,
    PromiseRecord,
    Value,
    is_local,
    origin_of,
)
from understudy_store.slots import slot_of


def find(s: State, promise_id: str, now: int) -> Promise | None:
    """Return the promise, projected: settled if its deadline has passed (semantics: Projection).

    None if it is not in memory.
    """
    promise = s.promises.get(promise_id)
    if promise is None and promise_id in s.packed:
        promise = packed.get(s, promise_id)
    if promise is not None:
        record = promise.record
        if record.timeout_at <= now and record.settled_at is None:
            expire(s, promise, now)
    return promise


def settle(
    s: State,
    promise: Promise,
    event: PromiseEvent,
    value: Value,
    now: int,
    reason: Reason | None,
    by: Task | None = None,
) -> None:
    """Settle a pending promise whose deadline is still to come.

    Parameters
    ----------
    reason
        The reason that a node which loses the promise's task is told; None if that node asked.
    by
        The task under whose fence this happens.
    """
    overdue: list[Promise] = []
    _settle(s, promise, event, value, now, now, reason, by, overdue)
    if overdue:
        _expire_all(s, overdue, now)


def expire(s: State, promise: Promise, now: int) -> None:
    """Settle a pending promise whose deadline has passed."""
    _expire_all(s, [promise], now)


def _expire_all(s: State, overdue: list[Promise], now: int) -> None:
    while overdue:
        promise = overdue.pop()
        record = promise.record
        if record.settled_at is None:
            event, at = deadline_event(record), record.timeout_at
            _settle(s, promise, event, EMPTY, at, now, "deadline", None, overdue)


def _settle(
    s: State,
    promise: Promise,
    event: PromiseEvent,
    value: Value,
    at: int,
    now: int,
    reason: Reason | None,
    by: Task | None,
    overdue: list[Promise],
) -> None:
    old = promise.record
    record = promise.record = PromiseRecord(
        old.id,
        PROMISE_TRANSITIONS[old.state, event],
        old.param,
        value,
        old.tags,
        old.timeout_at,
        old.created_at,
        at,
    )
    s.deadlines.disarm(record.timeout_at, record.id)
    s.pending -= 1
    s.dirty[record.id] = promise
    unlink(s, record.id, record.tags)
    note_settlement(s, record, by)
    if promise.task is not None:
        task_moves.fulfill(s, promise.task, reason)
    if promise.callbacks is not None:
        _consume_callbacks(s, promise, now, overdue)
    if promise.listeners is not None:
        _consume_listeners(s, promise)
    if record.id in s.followed:
        occurrences.settled(s, record.id, slot_of(record.id))


def note_settlement(s: State, record: PromiseRecord, by: Task | None) -> None:
    """Note the settlement, and the node that watches it, if any (semantics: Ours, watching)."""
    holder = None
    branch = record.tags.get(TAG_BRANCH)
    if branch is not None:
        above = s.promises.get(branch)
        if above is None and branch in s.packed:
            above = packed.get(s, branch)
        # A node that stores a local step under its own fence knows already how it ended.
        if (
            above is not None
            and (task := above.task) is not None
            and not (task is by and is_local(record))
        ):
            holder = task.warm
            if task.crash_count and task_moves.may(task, "recount"):
                crash_counts.reset(s, task)
    s.settled.append(Settlement(record, holder))


def _consume_callbacks(s: State, promise: Promise, now: int, overdue: list[Promise]) -> None:
    awaited = promise.record.id
    callbacks = promise.callbacks or {}
    promise.callbacks = None
    if len(s.callbacks_new.pop(awaited, ())) < len(callbacks):
        s.callbacks_removed.append(awaited)
    _resume(s, awaited, callbacks, now, overdue)


def resume_awaiters(s: State, awaited: str, awaiters: Iterable[str], now: int) -> None:
    """Resume tasks that have waited for a promise which has settled."""
    overdue: list[Promise] = []
    _resume(s, awaited, awaiters, now, overdue)
    if overdue:
        _expire_all(s, overdue, now)


def _resume(
    s: State, awaited: str, awaiters: Iterable[str], now: int, overdue: list[Promise]
) -> None:
    for awaiter in awaiters:
        waiting = packed.get(s, awaiter)
        if waiting is None or waiting.record.settled_at is not None:
            continue
        if waiting.record.timeout_at <= now:
            overdue.append(waiting)
            continue
        task = waiting.task
        assert task is not None
        if task_moves.changes(task, "resume"):
            task_moves.make_pending(s, task, "resume", now)
            task.resumes = None
        task_moves.remember(s, task, awaited)


def _consume_listeners(s: State, promise: Promise) -> None:
    record = promise.record
    listeners = promise.listeners or {}
    promise.listeners = None
    if len(s.listeners_new.pop(record.id, ())) < len(listeners):
        s.listeners_removed.append(record.id)
    for address in listeners:
        key = (record.id, address)
        s.unblocks[key] = record
        s.unblocks_new[key] = None
        s.unblocks_dirty[key] = True


def cancel(s: State, promise: Promise, value: Value, now: int) -> None:
    """Cancel a pending promise and, in its call graph, all it still waits for.

    From the top down, so that no parent is resumed by a child that is canceled with it.
    Descendants carry no value, because nobody is left to read it.
    """
    origin = origin_of(promise.record)
    found = {promise.record.id: promise}
    work = [promise.record.id]
    for above in work:
        for child_id in children_of(s, above):
            child = packed.get(s, child_id)
            assert child is not None
            if child_id not in found and origin_of(child.record) == origin:
                found[child_id] = child
                work.append(child_id)
    for each in found.values():
        # Settling a promise above may have settled this one too, by its own deadline.
        if each.record.settled_at is not None:
            continue
        if each.record.timeout_at <= now:
            expire(s, each, now)
        else:
            settle(s, each, "cancel", value if each is promise else EMPTY, now, "canceled")
