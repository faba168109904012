"""Moves of a task from state to state: its timers, and the node that keeps it warm.

Each function here is one arrow of `TASK_TRANSITIONS` and leaves the task with exactly what its new
state holds (semantics: property 9). The caller has projected the promise: no task moves whose
promise is past its deadline, except to ``fulfilled`` (semantics: property 14). The
move to ``acquired`` is in `leases`.
"""

from __future__ import annotations

from understudy_store.machine import elsewhere
from understudy_store.machine.live import Holder, Reason, Revocation, Task
from understudy_store.machine.state import State
from understudy_store.machine.transitions import HOLDS, TASK_TRANSITIONS, TaskEvent


def may(task: Task, event: TaskEvent) -> bool:
    """Return whether the table allows `event` for the task as it is."""
    return (task.state, event) in TASK_TRANSITIONS


def changes(task: Task, event: TaskEvent) -> bool:
    """Return whether `event`, which is legal, takes the task to another state."""
    return TASK_TRANSITIONS[task.state, event] != task.state


def move(s: State, task: Task, event: TaskEvent) -> None:
    """Leave the state and what it holds, and enter the one that the table says."""
    state = task.state
    new = TASK_TRANSITIONS[state, event]
    held = HOLDS.get(state)
    if held == "offer":
        assert task.retry_at is not None
        s.offers_due.disarm(task.retry_at, task.id)
        task.retry_at = task.due_at = None
    elif held == "lease":
        assert task.pid is not None
        # The holder's lease timer stays armed: it fires no later than it must, and then looks.
        del s.holders[task.pid].held[task.id]
        task.pid = task.ttl = task.expires_at = None
    s.counts[state] -= 1
    s.counts[new] += 1
    task.state = new
    s.dirty[task.id] = s.promises[task.id]


def make_pending(s: State, task: Task, event: TaskEvent, due_at: int) -> None:
    """Move to pending; the sweep offers the task when it is due."""
    move(s, task, event)
    arm_offer(s, task, due_at)


def arm_offer(s: State, task: Task, due_at: int) -> None:
    """Have the sweep offer a pending task at `due_at`."""
    task.retry_at = task.due_at = due_at
    s.offers_due.arm(due_at, task.id)


def offer_now(s: State, task: Task, now: int) -> None:
    """Have the sweep offer a pending task now, instead of when it would have."""
    assert task.retry_at is not None
    s.offers_due.disarm(task.retry_at, task.id)
    arm_offer(s, task, now)
    s.dirty[task.id] = s.promises[task.id]


def suspend(s: State, task: Task) -> None:
    """Move to suspended; its node keeps the activation warm."""
    assert task.pid is not None
    holder = s.holders[task.pid]
    move(s, task, "suspend")
    task.resumes = None
    task.suspensions += 1
    holder.warm[task.id] = None


def stay(s: State, task: Task) -> None:
    """Stay acquired after a suspend that found something settled, which the holder now knows."""
    if task.resumes:
        task.resumes = None
        s.dirty[task.id] = s.promises[task.id]


def release(s: State, task: Task, due_at: int) -> None:
    """Move to pending at the holder's own wish; it has let go of the activation."""
    task.warm = None
    make_pending(s, task, "release", due_at)


def lapse(s: State, task: Task, now: int, reason: Reason | None) -> None:
    """Move to pending, due now, from a holder that is silent, or gone (no reason to tell it)."""
    forget_warm_node(s, task, reason)
    make_pending(s, task, "lapse", now)


def halt(s: State, task: Task) -> None:
    """Move to halted, and tell the node that has the activation."""
    forget_warm_node(s, task, "halted")
    move(s, task, "halt")


def fulfill(s: State, task: Task, reason: Reason | None) -> None:
    """Move to fulfilled, with the promise; no reason if its holder settled it and so knows."""
    if task.warm is not None:
        forget_warm_node(s, task, reason)
    move(s, task, "settle")
    task.resumes = None
    if task.awaits is not None:
        elsewhere.forget(s, task)


def remember(s: State, task: Task, awaited: str) -> None:
    """Note once that `awaited` has settled, for the next time the task is acquired."""
    if task.resumes is None:
        task.resumes = {awaited: None}
    else:
        task.resumes[awaited] = None
    s.dirty[task.id] = s.promises[task.id]


def forget_warm_node(s: State, task: Task, reason: Reason | None) -> None:
    """Forget which node has the activation and, if there is a reason, tell that node."""
    pid = task.warm
    if pid is None:
        return
    task.warm = None
    if task.pid is None:
        holder = s.holders[pid]
        del holder.warm[task.id]
        forget_empty_holder(s, pid, holder)
    if reason is not None:
        s.revoked.append(Revocation(pid, task.id, task.version, reason))


def forget_empty_holder(s: State, pid: str, holder: Holder) -> None:
    """Forget a node that has nothing."""
    if not holder.held and not holder.warm and holder.armed_at is None:
        s.holders.pop(pid, None)
