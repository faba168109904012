"""Between the machine and an engine: batches of changes out, history and a snapshot in.

A settled promise stays in memory until its batch is durable. After that it is history: an engine
finds it for the commands that name it (`lookups`, `load`), it is a guest for one batch, and leaves
again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from understudy_store.changes import Changes, Row, Snapshot
from understudy_store.commands import (
    PromiseCancel,
    PromiseCreate,
    PromiseGet,
    PromiseRegisterCallback,
    PromiseRegisterListener,
    PromiseSettle,
    StoreCommand,
    TaskAcquire,
    TaskContinue,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskGet,
    TaskHalt,
    TaskPreload,
    TaskRelease,
    TaskSuspend,
)
from understudy_store.machine import task_moves as holding
from understudy_store.machine.live import Promise, Task
from understudy_store.machine.packed import at_rest, freeze, revive
from understudy_store.machine.pending_row import PendingRow, texts_from_json
from understudy_store.machine.state import State, link
from understudy_store.records import TAG_BRANCH, TAG_PARENT, TAG_SCOPE, TaskRecord

#: commands that name one promise, their own
_BY_ID: Final = frozenset(
    {
        PromiseCancel,
        PromiseCreate,
        PromiseGet,
        PromiseSettle,
        TaskAcquire,
        TaskContinue,
        TaskCreate,
        TaskFulfill,
        TaskGet,
        TaskHalt,
        TaskPreload,
        TaskRelease,
    }
)


def touched(command: StoreCommand) -> Iterable[str]:
    """The ids of promises that a command names."""
    if type(command) in _BY_ID:
        return (command.id,)  # type: ignore[union-attr]
    if isinstance(command, TaskFence):
        return (command.id, *[inner.id for inner in command.commands])
    if isinstance(command, TaskSuspend):
        return (command.id, *command.awaited)
    if isinstance(command, PromiseRegisterCallback):
        return (command.awaited, command.awaiter)
    if isinstance(command, PromiseRegisterListener):
        return (command.awaited,)
    return ()


def lookups(s: State, commands: Iterable[StoreCommand]) -> set[str]:
    """Ids that these commands name and that are not in memory."""
    missing: set[str] = set()
    known, cold = s.promises, s.cold
    for command in commands:
        for each in touched(command):
            promise = known.get(each)
            if promise is None:
                if each not in cold:
                    missing.add(each)
            elif promise.record.settled_at is not None:
                s.pins.add(each)
    return missing


def load(s: State, rows: Iterable[Row]) -> None:
    """Take in settled history as guests."""
    for row in rows:
        record = row.promise
        if record.id in s.promises:
            continue
        assert record.settled_at is not None, f"{record.id}: pending promises are always in memory"
        task = None if row.task is None else revive(record, row.task)
        s.promises[record.id] = Promise(record, task, True)
        s.guests[record.id] = None


def restore(s: State, snapshot: Snapshot, now: int) -> None:
    """Begin with what was live when the store was last written.

    Leases run on from now: renewals were in memory only. What is due is offered again.
    """
    now = s.clock(max(snapshot.now, now))
    callbacks = _gathered(snapshot.callbacks)
    listeners = _gathered(snapshot.listeners)
    task_id = ""
    for row in snapshot.live:
        promise_id = row.id
        s.pending += 1
        s.deadlines.arm(row.timeout_at, promise_id)
        if row.task_state is not None:
            s.counts[row.task_state] += 1
            task_id = promise_id
        # rows come in the order of ids, and a task's children have its id and more: one object
        _restore_link(s, row, task_id if row.branch == task_id else row.branch)
        awaiters = callbacks.pop(promise_id, ())
        addresses = listeners.pop(promise_id, ()) if listeners else ()
        if at_rest(row.task_state):
            s.cold[promise_id] = freeze(row, awaiters, addresses)
        else:
            _restore_active(s, row.row(), awaiters, addresses, now)
    for record, address in snapshot.unblocks:
        s.unblocks[record.id, address] = record
    for schedule in snapshot.schedules:
        s.schedules[schedule.id] = schedule
        s.occurrences.arm(schedule.next_run_at, schedule.id)


def _gathered(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    gathered: dict[str, list[str]] = {}
    for awaited, other in pairs:
        others = gathered.get(awaited)
        if others is None:
            gathered[awaited] = [other]
        else:
            others.append(other)
    return gathered


def _restore_link(s: State, row: PendingRow, branch: str | None) -> None:
    tags = row.tags
    # the text: to look into it takes longer than all else here
    if TAG_SCOPE in tags or TAG_PARENT in tags:
        link(s, row.id, texts_from_json(tags))
    elif branch is not None:
        link(s, row.id, {TAG_BRANCH: branch})


def _restore_active(
    s: State,
    row: Row,
    callbacks: Sequence[str],
    listeners: Sequence[str],
    now: int,
) -> None:
    """Enter a promise whose task a node has, or is to get."""
    assert row.task is not None
    task = revive(row.promise, row.task)
    promise = s.promises[task.id] = Promise(row.promise, task, True)
    promise.callbacks = dict.fromkeys(callbacks) if callbacks else None
    promise.listeners = dict.fromkeys(listeners) if listeners else None
    _resume_task(s, task, row.task, now)


def _resume_task(s: State, task: Task, row: TaskRecord, now: int) -> None:
    if task.state == "pending":
        task.due_at = row.retry_at
        task.retry_at = max(now, row.retry_at or 0)
        s.offers_due.arm(task.retry_at, task.id)
    elif task.state == "acquired":
        assert row.pid is not None
        assert row.ttl is not None
        holding.hold(s, task, row.pid, row.ttl, now)


def take(s: State) -> Changes:
    """All that was dirtied since the last take, each object once, in its final state."""
    inserted: list[Row] = []
    updated: list[Row] = []
    for promise in s.dirty.values():
        task = promise.task
        row = Row(promise.record, None if task is None else task.row())
        if promise.stored:
            updated.append(row)
        else:
            promise.stored = True
            inserted.append(row)
    changes = Changes(
        s.now,
        inserted,
        updated,
        [(awaited, awaiter) for awaited, new in s.callbacks_new.items() for awaiter in new],
        s.callbacks_removed,
        [(awaited, address) for awaited, new in s.listeners_new.items() for address in new],
        s.listeners_removed,
        [key for key, added in s.unblocks_dirty.items() if added],
        [key for key, added in s.unblocks_dirty.items() if not added],
        [s.schedules[each] for each in s.schedules_dirty if each in s.schedules],
        [each for each in s.schedules_dirty if each not in s.schedules],
    )
    s.dirty = {}
    s.callbacks_new = {}
    s.callbacks_removed = []
    s.listeners_new = {}
    s.listeners_removed = []
    s.unblocks_dirty = {}
    s.schedules_dirty = {}
    for guest in s.guests:
        del s.promises[guest]
    s.guests = {}
    s.pins = set()
    return changes


def committed(s: State, changes: Changes) -> None:
    """The batch is durable: what settled in it is history."""
    promises, pins = s.promises, s.pins
    for rows in (changes.inserted, changes.updated):
        for row in rows:
            if row.promise.settled_at is not None:
                if row.promise.id in pins:
                    s.guests[row.promise.id] = None
                else:
                    promises.pop(row.promise.id, None)


def acknowledge(s: State, promise_id: str, address: str) -> None:
    """An unblock has arrived."""
    key = (promise_id, address)
    if s.unblocks.pop(key, None) is None:
        return
    s.unblocks_new.pop(key, None)
    # added and removed within one batch: the engine need not know
    if s.unblocks_dirty.pop(key, False):
        return
    s.unblocks_dirty[key] = False
