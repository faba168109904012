"""Batches: changes out to the engine, and history in from it.

A settled promise stays in memory until its batch is durable. After that it is history: the engine
finds it for the commands that name it (`lookups`, `load`), it is in memory for one batch, and
leaves again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from understudy_store.changes import Changes
from understudy_store.commands import (
    PromiseCancel,
    PromiseCreate,
    PromiseGet,
    PromiseOccur,
    PromiseRegisterCallback,
    PromiseRegisterListener,
    PromiseSettle,
    PromiseSupersede,
    ScheduleCreate,
    SchedulePut,
    ScheduleTrigger,
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
    TaskRetry,
    TaskSuspend,
)
from understudy_store.machine import elsewhere, schedule_runs
from understudy_store.machine.live import Promise, Task
from understudy_store.machine.state import State
from understudy_store.records import Row
from understudy_store.slots import slot_of

#: commands that name one promise, by the id that they carry
_BY_ID: Final = frozenset(
    {
        PromiseCancel,
        PromiseCreate,
        PromiseGet,
        PromiseOccur,
        PromiseSettle,
        PromiseSupersede,
        TaskAcquire,
        TaskContinue,
        TaskCreate,
        TaskFulfill,
        TaskGet,
        TaskHalt,
        TaskPreload,
        TaskRelease,
        TaskRetry,
    }
)
#: commands after which a call of a schedule may be made under an id that they do not name
_OF_SCHEDULES: Final = frozenset({ScheduleCreate, SchedulePut, ScheduleTrigger})


def touched(s: State, command: StoreCommand) -> Iterable[str]:
    """Return the ids of promises that a command names, and that may be here."""
    if type(command) in _BY_ID:
        return (command.id,)  # type: ignore[union-attr]  # a set of types narrows nothing
    if isinstance(command, TaskFence):
        return (command.id, *[inner.id for inner in command.commands])
    if isinstance(command, TaskSuspend):
        if not s.config.sharded:
            return (command.id, *command.awaited)
        slot = slot_of(command.id)
        return (command.id, *[each for each in command.awaited if slot_of(each) == slot])
    if isinstance(command, PromiseRegisterCallback):
        if elsewhere.is_elsewhere(s, command.awaited, slot_of(command.awaiter)):
            return (command.awaiter,)
        return (command.awaited, command.awaiter)
    if isinstance(command, PromiseRegisterListener):
        return (command.awaited,)
    if isinstance(command, ScheduleTrigger):
        return schedule_runs.triggered(s, command)
    return ()


def lookups(s: State, commands: Iterable[StoreCommand]) -> set[str]:
    """Return the ids that these commands name and that are not in memory.

    Settled promises that they name, and whose commit is under way, are pinned.
    """
    missing: set[str] = set()
    known, packed = s.promises, s.packed
    for command in commands:
        ids = touched(s, command)
        if type(command) in _OF_SCHEDULES:
            if isinstance(command, ScheduleTrigger):
                s.looked_up.update(ids)
            elif isinstance(command, ScheduleCreate | SchedulePut):
                s.new_templates.setdefault(command.id, {})[command.promise_id] = None
        for each in ids:
            promise = known.get(each)
            if promise is None:
                if each not in packed:
                    missing.add(each)
            elif promise.record.settled_at is not None:
                s.pinned.add(each)
    return missing


def load(s: State, rows: Iterable[Row]) -> None:
    """Take in history, to be forgotten at the next take."""
    for row in rows:
        record = row.promise
        if record.id in s.promises:
            continue
        assert record.settled_at is not None, f"{record.id}: pending promises are always in memory"
        task = None if row.task is None else Task.restored(record, row.task)
        s.promises[record.id] = Promise(record, task, True)
        s.leaving[record.id] = None


def take(s: State) -> Changes:
    """Return all that changed since the last take, each object once, in its final state."""
    inserted: list[Row] = []
    updated: list[Row] = []
    for promise in s.dirty.values():
        task = promise.task
        row = Row(promise.record, None if task is None else task.record(stored=True))
        if promise.stored:
            updated.append(row)
        else:
            promise.stored = True
            inserted.append(row)
    changes = Changes(s.now, inserted, updated)
    s.in_flight += 1
    s.dirty = {}
    # Most batches have little else, so each of the rest is built only if there is any.
    if s.callbacks_new:
        changes.callbacks_added = [
            (awaited, awaiter) for awaited, new in s.callbacks_new.items() for awaiter in new
        ]
        s.callbacks_new = {}
    if s.callbacks_removed:
        changes.callbacks_removed, s.callbacks_removed = s.callbacks_removed, []
    if s.listeners_new:
        changes.listeners_added = [
            (awaited, address) for awaited, new in s.listeners_new.items() for address in new
        ]
        s.listeners_new = {}
    if s.listeners_removed:
        changes.listeners_removed, s.listeners_removed = s.listeners_removed, []
    if s.unblocks_dirty:
        changes.unblocks_added = [key for key, added in s.unblocks_dirty.items() if added]
        changes.unblocks_removed = [key for key, added in s.unblocks_dirty.items() if not added]
        s.unblocks_dirty = {}
    if s.schedules_dirty:
        known = s.schedules
        changes.schedules_put = [known[each] for each in s.schedules_dirty if each in known]
        changes.schedules_deleted = [each for each in s.schedules_dirty if each not in known]
        s.schedules_dirty = {}
    if s.attempts:
        changes.attempts, s.attempts = s.attempts, []
    if s.purged:
        changes.purged, s.purged = s.purged, []
        changes.replaced, s.replaced = s.replaced, []
    for settled in s.leaving:
        del s.promises[settled]
    s.leaving = {}
    s.pinned = set()
    s.looked_up = set()
    s.new_templates = {}
    return changes


def committed(s: State, changes: Changes) -> None:
    """Note that a batch is durable: the promises that settled in it are history."""
    s.in_flight -= 1
    promises, pinned = s.promises, s.pinned
    for rows in (changes.inserted, changes.updated):
        for row in rows:
            if row.promise.settled_at is not None:
                if row.promise.id in pinned:
                    s.leaving[row.promise.id] = None
                else:
                    promises.pop(row.promise.id, None)


def acknowledge(s: State, promise_id: str, address: str) -> None:
    """Note that an unblock has arrived: it is owed no longer."""
    key = (promise_id, address)
    if s.unblocks.pop(key, None) is None:
        return
    s.unblocks_new.pop(key, None)
    # If it was added in this batch too, the engine need not know of either.
    if s.unblocks_dirty.pop(key, False):
        return
    s.unblocks_dirty[key] = False
