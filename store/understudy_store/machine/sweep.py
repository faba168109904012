"""Own transitions: what time alone brings about (semantics: Own transitions).

A sweep does a bounded number of them and says whether more is due. It settles only by deadline, and
never acquires, suspends, halts or continues (semantics: property 16).
"""

from __future__ import annotations

from collections.abc import Collection

from understudy_store.machine import crash_counts as deaths
from understudy_store.machine import schedules
from understudy_store.machine import task_moves as holding
from understudy_store.machine.packed import cool, look
from understudy_store.machine.settlement import expire, find
from understudy_store.machine.state import State


def sweep(s: State, now: int, schedules_until: int) -> bool:
    """Do what is due at `now`, and schedules only up to `schedules_until`; True if some is left.

    Deadlines come first, so that nothing is offered or lapses whose promise is over (semantics:
    property 14); schedules before offers, so that what they make is offered at once.
    """
    cool(s, now)
    due_at = next_due(s)
    if due_at is None or due_at > now:
        return False
    left = s.config.sweep_max
    left -= _deadlines(s, now, left)
    left -= _leases(s, now, left)
    left -= schedules.run(s, now, schedules_until, min(left, s.config.missed_max))
    _offers(s, now, left)
    due_at = next_due(s)
    return due_at is not None and due_at <= now


def next_due(s: State) -> int | None:
    """When a sweep has something to do, or earlier: a renewed lease does not move its timer."""
    first: int | None = None
    for timers in (s.deadlines, s.leases, s.occurrences, s.offers_due):
        at = timers.next()
        if at is not None and (first is None or at < first):
            first = at
    return first


def _deadlines(s: State, now: int, limit: int) -> int:
    done = 0
    while done < limit and (ids := s.deadlines.first(now, limit - done)):
        for promise_id in ids:
            # an awaiter may have been settled with the one before it
            find(s, promise_id, now)
        done += len(ids)
    return done


def _leases(s: State, now: int, limit: int) -> int:
    done = 0
    while done < limit and (pids := s.leases.first(now, 1)):
        done += _lapse(s, pids[0], now, limit - done)
    return done


def _lapse(s: State, pid: str, now: int, limit: int) -> int:
    """Look at the leases of one node; take back those that have ended, at most `limit`."""
    holder = s.holders[pid]
    assert holder.armed_at is not None
    s.leases.disarm(holder.armed_at, pid)
    holder.armed_at = None
    ended = [task for task in holder.held.values() if (task.expires_at or 0) <= now]
    for task in ended[:limit]:
        if task.state == "acquired":
            lapse_unless_over(s, task.id, now, f"{pid} fell silent, its lease lapsed", tell=True)
    expiries = [task.expires_at for task in holder.held.values() if task.expires_at is not None]
    if expiries:
        holding.watch_lease(s, holder, pid, min(expiries))
    else:
        holding.drop_if_idle(s, pid, holder)
    return max(1, min(len(ended), limit))


def lapse_unless_over(
    s: State,
    task_id: str,
    now: int,
    death: str | None,
    *,
    doubtful: bool = False,
    tell: bool = False,
) -> bool:
    """Return an acquired task to pending, or, past its deadline, settle it; True if pending.

    `death` says how its holder vanished; None: it did not.
    """
    promise = s.promises[task_id]
    if promise.record.timeout_at <= now:
        expire(s, promise, now)
        return False
    assert promise.task is not None
    if death is not None:
        deaths.count(promise.task, death, now, doubtful=doubtful)
    holding.lapse(s, promise.task, now, "lease" if tell else None)
    return True


def _offers(s: State, now: int, limit: int) -> None:
    while limit > 0 and (ids := s.offers_due.first(now, limit)):
        limit -= len(ids)
        for task_id in ids:
            _offer(s, task_id, now)


def _offer(s: State, task_id: str, now: int) -> None:
    # the bound is shared: offers have their turn only when no deadline is left that is due
    task = s.promises[task_id].task
    assert task is not None
    assert task.retry_at is not None
    s.offers_due.disarm(task.retry_at, task_id)
    # not stored: after a restart all that is due is offered anyway
    task.retry_at = now + s.config.retry_timeout_ms
    s.offers_due.arm(task.retry_at, task_id)
    s.offers[task_id] = task


def release_pid(
    s: State,
    pid: str,
    now: int,
    keep: Collection[tuple[str, int]],
    death: str | None,
    doubtful: bool,
) -> list[str]:
    """Return all that a node has, but for `keep`, to pending; returns the ids."""
    holder = s.holders.get(pid)
    if holder is None:
        return []
    kept = set(keep)
    for task_id in list(holder.warm):
        promise = look(s, task_id)
        assert promise is not None
        assert promise.task is not None
        if (task_id, promise.task.version) not in kept:
            holding.chill(s, promise.task, None)
    lost = [task for task in holder.held.values() if (task.id, task.version) not in kept]
    ids = [
        task.id
        for task in lost
        # settling one may have settled an awaiter among the others
        if task.state == "acquired" and lapse_unless_over(s, task.id, now, death, doubtful=doubtful)
    ]
    if not holder.held and holder.armed_at is not None:
        s.leases.disarm(holder.armed_at, pid)
        holder.armed_at = None
    holding.drop_if_idle(s, pid, holder)
    return ids
