"""Quarantine: tasks that cannot go on are parked: halted, until a person continues or cancels them.

There are two kinds. A task whose holders keep crashing is parked by the broker, so that it harms no
further node: the machine keeps its crash count (semantics: Ours, deaths and parking), and the
broker, as the supervisor, decides which count is too high. And a holder parks a task that its code
cannot go on with: the function is unknown, or it makes other calls than the history holds.
"""

from __future__ import annotations

from understudy_broker.core.call_tally import group_of
from understudy_broker.core.events import EventLog
from understudy_broker.core.metrics import Metrics, ParkReason
from understudy_store.commands import TaskHalt
from understudy_store.machine import Execute, Machine
from understudy_store.records import TaskRecord


class Quarantine:
    """The check that every task passes before it is offered to nodes.

    Parameters
    ----------
    crash_count_max
        A task with this crash count is parked; 0: no task is.
    """

    def __init__(
        self, machine: Machine, events: EventLog, metrics: Metrics, crash_count_max: int
    ) -> None:
        self._machine = machine
        self._events = events
        self._metrics = metrics
        self._crash_count_max = crash_count_max

    def halt_if_poisoned(self, execute: Execute, now: int) -> bool:
        """Park the task if its crash count is too high; return whether it is parked now."""
        if not self._crash_count_max or execute.crash_count < self._crash_count_max:
            return False
        task = self._machine.view.task(execute.id)
        assert task is not None
        times = "once" if task.deaths == 1 else f"{task.deaths} times in a row"
        cause = f"its holder vanished {times}; the last: {task.cause}"
        if not self._machine.apply(TaskHalt(task.id, cause), now).ok:
            return False
        self.note_parked(task, cause, "deaths")
        return True

    def note_parked(self, task: TaskRecord, cause: str, reason: ParkReason) -> None:
        """Count and log that a task was parked."""
        self._metrics.count_parked(group_of(task.target), reason)
        self._events.add("warning", "parked", id=task.id, target=task.target, cause=cause)
