"""Leases: how a task is acquired by a node, kept by it, and taken back when its lease lapses.

A holder has one timer for all its leases, armed no later than the first of them ends. A renewal
only moves the end of a lease in memory; when the timer fires, it looks at every lease of its holder
and is armed anew. A heartbeat therefore costs nothing per task but a number.
"""

from __future__ import annotations

from collections.abc import Collection

from understudy_store.machine import attempt_log, crash_counts, packed, task_moves
from understudy_store.machine.live import Holder, Task
from understudy_store.machine.settlement import expire
from understudy_store.machine.state import State
from understudy_store.records import name_of


def acquire(s: State, task: Task, pid: str, ttl: int, now: int) -> None:
    """Move to acquired: the only arrow that counts up the version (semantics: property 10)."""
    if task.warm is not None and task.warm != pid:
        task_moves.forget_warm_node(s, task, "moved")
    due_at = task.due_at
    # A command may acquire it before its delay is over.
    task.queued_at = now if due_at is None or due_at > now else due_at
    task_moves.move(s, task, "acquire")
    task.version += 1
    task.resumes = None
    task.acquired_at = now
    if task.started_at is None:
        task.started_at = now
    task.node = acquire_lease(s, task, pid, ttl, now).name


def acquire_lease(s: State, task: Task, pid: str, ttl: int, now: int) -> Holder:
    """Enter an acquired task under its holder, with a lease from `now`; return the holder."""
    expires_at = now + ttl
    task.pid = task.warm = pid
    task.ttl = ttl
    task.expires_at = expires_at
    holder = s.holders.get(pid)
    if holder is None:
        holder = s.holders[pid] = Holder(name_of(pid))
    elif holder.warm:
        holder.warm.pop(task.id, None)
    holder.held[task.id] = task
    watch_leases(s, holder, pid, expires_at)
    return holder


def renew_lease(task: Task, now: int) -> None:
    """Let the lease of an acquired task run on from `now`; in memory only."""
    assert task.ttl is not None
    task.expires_at = now + task.ttl


def watch_leases(s: State, holder: Holder, pid: str, at: int) -> None:
    """Have the holder's leases looked at no later than `at`."""
    if holder.armed_at is not None:
        if holder.armed_at <= at:
            return
        s.leases.disarm(holder.armed_at, pid)
    holder.armed_at = at
    s.leases.arm(at, pid)


def lapse_due(s: State, now: int, limit: int) -> int:
    """Take back what was leased until `now` at the latest; return the number of transitions."""
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
        watch_leases(s, holder, pid, min(expiries))
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
    attempt_log.add(s, promise.task, "died" if crash else "released", now, text=crash)
    task_moves.lapse(s, promise.task, now, "lease" if tell else None)
    return True


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
