"""Moving a task from state to state: timers, leases and who keeps its activation warm.

Each function here is one arrow of `transitions.TASK` and leaves the task with exactly what its new
state holds (semantics: property 9). The caller has projected the promise: no task moves whose
promise is past its deadline, except to ``fulfilled`` (semantics: property 14).
"""

from __future__ import annotations

from understudy_store.machine.live import Holder, Reason, Revocation, Task
from understudy_store.machine.state import State
from understudy_store.machine.transitions import TASK, TaskEvent


def move(s: State, task: Task, event: TaskEvent) -> None:
    """Leave the state and what belongs to it, enter the one that the table says."""
    state = task.state
    new = TASK[state, event]
    if state == "pending":
        assert task.retry_at is not None
        s.offers_due.disarm(task.retry_at, task.id)
        task.retry_at = task.due_at = None
    elif state == "acquired":
        assert task.pid is not None
        # the holder's lease timer stays armed: it is a lower bound, and looks when it fires
        del s.holders[task.pid].held[task.id]
        task.pid = task.ttl = task.expires_at = None
    s.counts[state] -= 1
    s.counts[new] += 1
    task.state = new
    s.dirty[task.id] = s.promises[task.id]


def pend(s: State, task: Task, event: TaskEvent, due_at: int) -> None:
    """To pending; the sweep offers it when it is due."""
    move(s, task, event)
    task.retry_at = task.due_at = due_at
    s.offers_due.arm(due_at, task.id)


def acquire(s: State, task: Task, pid: str, ttl: int, now: int) -> None:
    """To acquired: the only arrow that counts up the version (semantics: property 10)."""
    if task.warm is not None and task.warm != pid:
        chill(s, task, "moved")
    move(s, task, "acquire")
    task.version += 1
    task.resumes = None
    hold(s, task, pid, ttl, now)


def hold(s: State, task: Task, pid: str, ttl: int, now: int) -> None:
    """Enter an acquired task under its holder, with a lease from `now`."""
    expires_at = now + ttl
    task.pid = task.warm = pid
    task.ttl = ttl
    task.expires_at = expires_at
    holder = s.holders.get(pid)
    if holder is None:
        holder = s.holders[pid] = Holder()
    elif holder.warm:
        holder.warm.pop(task.id, None)
    holder.held[task.id] = task
    watch_lease(s, holder, pid, expires_at)


def watch_lease(s: State, holder: Holder, pid: str, at: int) -> None:
    """Have the holder's leases looked at no later than `at`."""
    if holder.armed_at is not None:
        if holder.armed_at <= at:
            return
        s.leases.disarm(holder.armed_at, pid)
    holder.armed_at = at
    s.leases.arm(at, pid)


def suspend(s: State, task: Task) -> None:
    """To suspended; its node keeps the activation warm."""
    assert task.pid is not None
    holder = s.holders[task.pid]
    move(s, task, "suspend")
    task.resumes = None
    holder.warm[task.id] = None


def release(s: State, task: Task, due_at: int) -> None:
    """To pending by the holder's own wish; it has let go of the activation."""
    task.warm = None
    pend(s, task, "release", due_at)


def lapse(s: State, task: Task, now: int, reason: Reason | None) -> None:
    """To pending, due now, from a holder that is silent, or (no reason to tell it) gone."""
    chill(s, task, reason)
    pend(s, task, "lapse", now)


def halt(s: State, task: Task) -> None:
    """To halted."""
    chill(s, task, "halted")
    move(s, task, "halt")


def fulfill(s: State, task: Task, reason: Reason | None) -> None:
    """To fulfilled, with its promise; no reason: by its holder, which knows."""
    if task.warm is not None:
        chill(s, task, reason)
    move(s, task, "settle")
    task.resumes = None


def remember(s: State, task: Task, awaited: str) -> None:
    """Note once that `awaited` has settled, for when the task is acquired next."""
    if task.resumes is None:
        task.resumes = {awaited: None}
    else:
        task.resumes[awaited] = None
    s.dirty[task.id] = s.promises[task.id]


def chill(s: State, task: Task, reason: Reason | None) -> None:
    """Forget which node has the activation and, for a reason, tell that node."""
    pid = task.warm
    if pid is None:
        return
    task.warm = None
    if task.pid is None:
        holder = s.holders[pid]
        del holder.warm[task.id]
        drop_if_idle(s, pid, holder)
    if reason is not None:
        s.revoked.append(Revocation(pid, task.id, task.version, reason))


def drop_if_idle(s: State, pid: str, holder: Holder) -> None:
    """Forget a node that has nothing."""
    if not holder.held and not holder.warm and holder.armed_at is None:
        s.holders.pop(pid, None)
