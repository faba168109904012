"""Recovery: a machine goes on from what was live when the store was written last.

It begins with all slots of its store (`restore`), and may be given more of them while it works
(`admit`), which another machine had before; `expulsion` is the way back.

Most promises of a large store are idle: they wait for a deadline, for a person, or for other
promises. They go from the engine's columns straight to packed bytes, without being decoded; only
their ids become known to timers, children and counts. Tasks that a node has, or is to get, become
objects.

Where slots are shared out, what depends on promises elsewhere is asked for again (`elsewhere`).

Two things differ from the moment of the last commit. Leases run on from now, because renewals were
in memory only; and what is due is offered again, because offers are not stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from understudy_store.changes import Snapshot
from understudy_store.machine import elsewhere, leases, schedule_runs
from understudy_store.machine.live import Promise, Task
from understudy_store.machine.packed import get, is_idle, pack
from understudy_store.machine.state import State, link
from understudy_store.machine.transitions import HOLDS
from understudy_store.pending_row import PendingRow, task_awaits, texts_from_json
from understudy_store.records import TAG_BRANCH, TAG_PARENT, TAG_SCOPE, Row, TaskRecord
from understudy_store.slots import slot_of


def restore(s: State, snapshot: Snapshot, now: int, ahead: int) -> None:
    """Go on from `snapshot`; only for a machine that has done nothing yet."""
    s.ahead = ahead
    admit(s, snapshot, now)


def admit(s: State, snapshot: Snapshot, now: int) -> None:
    """Take in `snapshot`, of slots of which nothing is in memory."""
    now = s.clock(max(snapshot.now, now))
    sharded = s.config.sharded
    callbacks = _by_awaited(snapshot.callbacks)
    listeners = _by_awaited(snapshot.listeners)
    promises, packed = s.promises, s.packed
    at_work = bool(promises or packed)
    task_id = ""
    across: list[tuple[str, str]] = []
    for row in snapshot.live:
        promise_id, task_state = row.id, row.task_state
        if at_work:
            assert promise_id not in promises, _twice(promise_id)
            assert promise_id not in packed, _twice(promise_id)
        s.pending += 1
        s.deadlines.arm(row.timeout_at, promise_id)
        if task_state is not None:
            s.counts[task_state] += 1
            task_id = promise_id
        # Rows come in the order of ids, so the children of a task usually follow it: their branch
        # is then kept as the one text object.
        _restore_link(s, row, task_id if row.branch == task_id else row.branch)
        awaiters = callbacks.pop(promise_id, ())
        if row.task is not None:
            for awaited in task_awaits(row.task):
                elsewhere.enter(s, awaited, promise_id)
        if sharded:
            across += _across_slots(s, row, awaiters)
        addresses = listeners.pop(promise_id, ()) if listeners else ()
        if is_idle(task_state):
            packed[promise_id] = pack(row, awaiters, addresses)
        else:
            _restore_active(s, row.row(), awaiters, addresses, now)
    for awaited, awaiter in across:
        _wait_elsewhere(s, awaited, awaiter)
    for record, address in snapshot.unblocks:
        assert (record.id, address) not in s.unblocks, _twice(record.id)
        s.unblocks[record.id, address] = record
    for schedule in snapshot.schedules:
        assert schedule.id not in s.schedules, _twice(schedule.id)
        schedule_runs.enter(s, schedule, now)


def _across_slots(s: State, row: PendingRow, awaiters: Sequence[str]) -> list[tuple[str, str]]:
    """Ask for what a promise depends on elsewhere; return the callbacks that cross slots.

    Those were stored before slots were shared out.
    """
    slot = slot_of(row.id)
    if row.branch is not None:
        elsewhere.ask_for_callers(s, row.id, texts_from_json(row.tags))
    if row.task is not None:
        for awaited in task_awaits(row.task):
            elsewhere.ask(s, awaited, slot)
    return [(row.id, awaiter) for awaiter in awaiters if slot_of(awaiter) != slot]


def _wait_elsewhere(s: State, awaited: str, awaiter: str) -> None:
    """Let a task wait for a promise elsewhere that has its callback."""
    waiting = get(s, awaiter)
    if waiting is not None and waiting.task is not None:
        elsewhere.wait(s, waiting.task, (awaited,))


def _twice(id_: str) -> str:
    return f"{id_} is in memory: a slot is admitted once, and expelled before it comes again"


def _by_awaited(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
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
    # This searches the JSON text, because decoding it takes longer than all else here.
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
    task = Task.restored(row.promise, row.task)
    promise = s.promises[task.id] = Promise(row.promise, task, True)
    promise.callbacks = dict.fromkeys(callbacks) if callbacks else None
    promise.listeners = dict.fromkeys(listeners) if listeners else None
    _resume_task(s, task, row.task, now)


def _resume_task(s: State, task: Task, record: TaskRecord, now: int) -> None:
    held = HOLDS[task.state]
    if held == "offer":
        task.due_at = record.retry_at
        task.retry_at = max(now, record.retry_at or 0)
        s.offers_due.arm(task.retry_at, task.id)
    else:
        assert held == "lease"
        assert record.pid is not None
        assert record.ttl is not None
        leases.acquire_lease(s, task, record.pid, record.ttl, now)
