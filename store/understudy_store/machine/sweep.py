"""Own transitions: everything that happens because time has passed (semantics: Own transitions).

A sweep does a bounded number of them and says whether more is due. It settles only by deadline, and
never acquires, suspends, halts or continues (semantics: property 16).
"""

from __future__ import annotations

from collections.abc import Collection

from understudy_store.machine import crash_counts, packed, schedules, task_moves
from understudy_store.machine.settlement import expire, find
from understudy_store.machine.state import State, next_due


def sweep(s: State, now: int, schedules_until: int) -> bool:
    """Do what is due at `now`, and schedules only up to `schedules_until`; True if some is left.

    Deadlines come first, so that nothing is offered or lapses whose promise is over (semantics:
    property 14); schedules before offers, so that new tasks of schedules are offered at once.
    """
    if s.pack_round or now >= s.pack_round_at:
        packed.pack_idle(s, now)
    if next_due(s) > now:
        return False
    left = s.config.sweep_max
    # Usually only one kind of timer is due: the others cost one comparison each.
    if s.deadlines.next_at <= now:
        left -= _deadlines(s, now, left)
    if s.leases.next_at <= now:
        left -= _leases(s, now, left)
    if s.occurrences.next_at <= schedules_until:
        left -= schedules.run(s, now, schedules_until, min(left, s.config.missed_max))
    if s.offers_due.next_at <= now:
        _offers(s, now, left)
    return next_due(s) <= now


def _deadlines(s: State, now: int, limit: int) -> int:
    done = 0
    while done < limit and (ids := s.deadlines.first(now, limit - done)):
        for promise_id in ids:
            # Settling the one before may have settled this one, as its awaiter.
            find(s, promise_id, now)
        done += len(ids)
    return done


def _leases(s: State, now: int, limit: int) -> int:
    done = 0
    while done < limit and (pids := s.leases.first(now, 1)):
        done += _lapse_leases(s, pids[0], now, limit - done)
    return done


def _lapse_leases(s: State, pid: str, now: int, limit: int) -> int:
    """Look at the leases of one node, and take back those that have ended, at most `limit`.

    Return how many transitions that was: at least 1, so that the sweep's bound is reached.
    """
    holder = s.holders[pid]
    assert holder.armed_at is not None
    s.leases.disarm(holder.armed_at, pid)
    holder.armed_at = None
    ended = [task for task in holder.held.values() if (task.expires_at or 0) <= now]
    for task in ended[:limit]:
        # Settling one that is past its deadline may have moved another.
        if task_moves.may(task, "lapse"):
            crash = f"{pid} fell silent, its lease lapsed"
            lapse_unless_over(s, task.id, now, crash, tell=True)
    expiries = [task.expires_at for task in holder.held.values() if task.expires_at is not None]
    if expiries:
        task_moves.watch_leases(s, holder, pid, min(expiries))
    else:
        task_moves.forget_empty_holder(s, pid, holder)
    return max(1, min(len(ended), limit))


def lapse_unless_over(
    s: State,
    task_id: str,
    now: int,
    crash: str | None,
    *,
    presumed: bool = False,
    tell: bool = False,
) -> bool:
    """Return an acquired task to pending, or settle it if it is past its deadline.

    Parameters
    ----------
    crash
        How its holder vanished, in words; None if it did not.
    presumed
        The holder is only presumed dead: see `crash_counts.retract`.
    tell
        The holder may still be there, and is told.

    Returns
    -------
    True if the task is pending now.
    """
    promise = s.promises[task_id]
    if promise.record.timeout_at <= now:
        expire(s, promise, now)
        return False
    assert promise.task is not None
    if crash is not None:
        crash_counts.count(promise.task, crash, now, presumed=presumed)
    task_moves.lapse(s, promise.task, now, "lease" if tell else None)
    return True


def _offers(s: State, now: int, limit: int) -> None:
    while limit > 0 and (ids := s.offers_due.first(now, limit)):
        limit -= len(ids)
        for task_id in ids:
            _offer(s, task_id, now)


def _offer(s: State, task_id: str, now: int) -> None:
    # The bound of a sweep is shared: offers have their turn only once no deadline is due, so the
    # promise is pending.
    task = s.promises[task_id].task
    assert task is not None
    assert task.retry_at is not None
    s.offers_due.disarm(task.retry_at, task_id)
    # Not stored, because after a restart all that is due is offered anyway.
    task.retry_at = now + s.config.retry_timeout_ms
    s.offers_due.arm(task.retry_at, task_id)
    s.offers[task_id] = task


def release_pid(
    s: State,
    pid: str,
    now: int,
    keep: Collection[tuple[str, int]],
    crash: str | None,
    presumed: bool,
) -> list[str]:
    """Return all tasks that a node has, but for `keep`, to pending; return their ids."""
    holder = s.holders.get(pid)
    if holder is None:
        return []
    kept = set(keep)
    for task_id in list(holder.warm):
        promise = packed.get(s, task_id)
        assert promise is not None
        assert promise.task is not None
        if (task_id, promise.task.version) not in kept:
            task_moves.forget_warm_node(s, promise.task, None)
    lost = [task for task in holder.held.values() if (task.id, task.version) not in kept]
    ids = [
        task.id
        for task in lost
        # Settling one that is past its deadline may have moved another.
        if task_moves.may(task, "lapse")
        and lapse_unless_over(s, task.id, now, crash, presumed=presumed)
    ]
    if not holder.held and holder.armed_at is not None:
        s.leases.disarm(holder.armed_at, pid)
        holder.armed_at = None
    task_moves.forget_empty_holder(s, pid, holder)
    return ids
