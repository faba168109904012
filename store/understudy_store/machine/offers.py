"""Offers that are put off: somebody keeps them for a node, such as a queue. In memory only."""

from __future__ import annotations

from typing import Final

from understudy_store.machine import packed
from understudy_store.machine.state import State

#: the shortest and the longest that an offer may be put off: a second, and a day
PUT_OFF_MS_MIN: Final = 1_000
PUT_OFF_MS_MAX: Final = 86_400_000


def put_off(s: State, task_id: str, version: int, now: int, pause_ms: int, *, grow: bool) -> None:
    """Offer a task again after a pause, instead of at the usual time, if it is pending still.

    Parameters
    ----------
    version
        The version that was offered. A task that has moved on since is offered as usual.
    pause_ms
        The pause, which is kept between `PUT_OFF_MS_MIN` and `PUT_OFF_MS_MAX`.
    grow
        Whether the pause is at least as long as the task has been due already.
    """
    promise = packed.get(s, task_id)
    task = None if promise is None else promise.task
    if task is None or task.version != version or task.due_at is None:
        return
    if grow:
        pause_ms = max(pause_ms, now - task.due_at)
    assert task.retry_at is not None
    s.offers_due.disarm(task.retry_at, task.id)
    task.retry_at = now + max(PUT_OFF_MS_MIN, min(pause_ms, PUT_OFF_MS_MAX))
    s.offers_due.arm(task.retry_at, task.id)
