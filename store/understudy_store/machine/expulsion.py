"""Expulsion: slots leave a machine at work, because another one is to have them.

What stays is what a restart from the rows of the other slots would make, apart from what only
memory knows (renewed leases, offers, which node keeps an activation warm). So the memory of a slot
is the sum of what its ids are named in, and of nothing else:

- of a promise: the object or the bytes, its deadline, its task's offer or lease, its place among
  the children of others, the counts, and where packing has got to;
- callbacks and listeners go with the promise that is awaited, unblocks with the promise that has
  settled, as their rows do;
- a schedule: its next occurrence.

The children of a promise that leaves may stay, and the other way round. They are entered under the
id of the other in either case, as after a restart, which finds its rows in any order.

**What is not perfect.** It walks over all that is live: 0.3 s for a million promises, and 12 µs for
each that leaves. And a task that stays may wait for a promise that leaves, or the other way round:
its callback is where the promise is, so the machine that settles the promise does not find the
task, and drops the callback. Whoever moves slots between brokers that both go on has to carry that
over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from understudy_store.machine import elsewhere, schedule_runs, task_moves
from understudy_store.machine.live import Promise, Task
from understudy_store.machine.packed import unpack
from understudy_store.machine.state import State, unlink
from understudy_store.machine.transitions import HOLDS
from understudy_store.slots import slot_of, slots_of


def expel(s: State, slots: Collection[int]) -> list[str]:
    """Forget everything of `slots`; see `Machine.expel`."""
    wanted = frozenset(slots)
    _check_settled(s, wanted)
    offered: list[str] = []
    for promise_id in _within(wanted, s.promises):
        promise = s.promises.pop(promise_id)
        if promise.task is not None and HOLDS.get(promise.task.state) == "offer":
            offered.append(promise_id)
        _forget(s, promise)
    for promise_id in _within(wanted, s.packed):
        _forget(s, unpack(promise_id, s.packed.pop(promise_id)))
    for key in [key for key in s.unblocks if slot_of(key[0]) in wanted]:
        del s.unblocks[key]
    for schedule_id in _within(wanted, s.schedules):
        schedule_runs.remove(s, s.schedules[schedule_id])
    for asked in [key for key in s.asked if key[1] in wanted]:
        del s.asked[asked]
    _forget_holders(s)
    s.pack_round = _without(wanted, s.pack_round)
    for ids in (s.idle_before, s.idle):
        for promise_id in _within(wanted, ids):
            del ids[promise_id]
    for promise_id in _within(wanted, s.pinned):
        s.pinned.remove(promise_id)
    return offered


def _check_settled(s: State, slots: Collection[int]) -> None:
    """Check that the engine has all that has happened, and that those who wait were told."""
    assert not s.in_flight, "slots are expelled when no batch is in flight: wait for its commit"
    for what, ids in (
        ("changes", s.dirty),
        ("changes", s.callbacks_new),
        ("changes", s.callbacks_removed),
        ("changes", s.listeners_new),
        ("changes", s.listeners_removed),
        ("changes", s.schedules_dirty),
        ("changes", [promise_id for promise_id, _ in s.unblocks_dirty]),
        ("messages", [promise_id for promise_id, _ in s.unblocks_new]),
        ("messages", [each.promise.id for each in s.settled]),
        ("messages", [each.id for each in s.revoked]),
    ):
        left = _within(slots, ids)
        assert not left, f"{what} of slots that are expelled, to be taken before: {left[:3]}"
    asks = [promise_id for promise_id, slot in s.asks if slot in slots]
    asks += _within(slots, [each.schedule for each in s.occurrences_elsewhere])
    asks += _within(slots, [each.schedule for each in s.cancels_elsewhere])
    assert not asks, f"questions of slots that are expelled, to be taken before: {asks[:3]}"


def _within(slots: Collection[int], ids: Iterable[str]) -> list[str]:
    """Return those of `ids` that are in `slots`."""
    known = list(ids)
    return [id_ for id_, slot in zip(known, slots_of(known), strict=True) if slot in slots]


def _without(slots: Collection[int], ids: Iterable[str]) -> list[str]:
    """Return the rest of `ids`."""
    known = list(ids)
    return [id_ for id_, slot in zip(known, slots_of(known), strict=True) if slot not in slots]


def _forget(s: State, promise: Promise) -> None:
    """Forget a promise that is in memory no longer."""
    record, task = promise.record, promise.task
    if record.settled_at is not None:
        # History, which was to leave at the next take.
        del s.leaving[record.id]
        return
    s.pending -= 1
    s.deadlines.disarm(record.timeout_at, record.id)
    unlink(s, record.id, record.tags)
    if task is not None:
        s.counts[task.state] -= 1
        _forget_task(s, task)


def _forget_task(s: State, task: Task) -> None:
    held = HOLDS.get(task.state)
    if held == "offer":
        assert task.retry_at is not None
        s.offers_due.disarm(task.retry_at, task.id)
        s.offers.pop(task.id, None)
    elif held == "lease":
        assert task.pid is not None
        del s.holders[task.pid].held[task.id]
    elsewhere.forget(s, task)
    if task.warm is not None and task.pid is None:
        del s.holders[task.warm].warm[task.id]


def _forget_holders(s: State) -> None:
    """Forget the nodes that have nothing any more, and the timers of those without a lease."""
    for pid, holder in list(s.holders.items()):
        if not holder.held and holder.armed_at is not None:
            s.leases.disarm(holder.armed_at, pid)
            holder.armed_at = None
        task_moves.forget_empty_holder(s, pid, holder)
