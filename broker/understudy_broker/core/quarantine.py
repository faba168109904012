"""Parking: tasks whose nodes keep vanishing are handed to nobody, until a person says so.

Part of the core, and as pure. The machine counts deaths (semantics: Ours, deaths and parking); the
broker, as the supervisor, decides how many are enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from understudy_store.commands import TaskHalt
from understudy_store.machine import Execute

if TYPE_CHECKING:
    from understudy_broker.core.context import BrokerContext


def parks(core: BrokerContext, execute: Execute, now: int) -> bool:
    """Whether this task, about to be offered, has had enough deaths; then it is halted now."""
    limit = core.config.deaths_max
    if not limit or execute.crash_count < limit:
        return False
    task = core.machine.view.task(execute.id)
    assert task is not None
    times = "once" if task.deaths == 1 else f"{task.deaths} times in a row"
    cause = f"whoever held it vanished, {times}; the last: {task.cause}"
    if not core.machine.apply(TaskHalt(task.id, cause), now).ok:
        return False
    core.counters.parked += 1
    core.membership.note("parked", id=task.id, target=task.target, cause=cause)
    return True
