"""Progress: the word of nodes on how far their functions are. In memory only; pure.

A node tells it of tasks that it holds, a few times in a second at most (`Progress`), and it is read
with the task (`TaskGet`). It is no fact of the store: it may be late or lost, nothing depends on
it, and after a restart of the broker the nodes tell it again.

It is told of one version of a task. If the node dies or gives the task back, the task gets another
version or waits for one, so what was told before is shown no more. It is shown while a task is
suspended, because nobody has taken it since. With the settlement of the task it is forgotten.

Bounds: so many tasks, of which the one that was silent for longest goes first, and so many runs of
each task; a text of so many characters. If one node speaks of very many tasks, others' progress may
be forgotten. That hides a number from people and harms nothing else.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Final

from understudy_broker.core.sessions import Session
from understudy_broker.protocol.messages import Progress, ProgressEntry
from understudy_store.machine import Machine
from understudy_store.progress import PROGRESS_CHARS_MAX, ProgressRecord
from understudy_store.records import TaskRecord
from understudy_store.slots import slot_of

#: tasks whose progress is known
TASKS_MAX: Final = 10_000
#: runs of one task whose progress is known: its own and those of its latest steps
RUNS_MAX: Final = 16
#: characters of what keeps a node from its work
BLOCKED_CHARS_MAX: Final = 1_024
#: characters of the id of a run; the store takes no longer ones
_ID_CHARS_MAX: Final = 1_024
#: states in which a task has the progress of its version
_SHOWN: Final = frozenset({"acquired", "suspended"})


class _Told:
    """The progress of one version of a task."""

    __slots__ = ("runs", "version")

    def __init__(self, version: int) -> None:
        self.version = version
        #: by id; the one that spoke last is the last
        self.runs: dict[str, ProgressRecord] = {}


class ProgressBook:
    """The progress of tasks.

    Parameters
    ----------
    machine
        Tells who holds a task.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        #: by id of the task; the one that was told of last is the last
        self._tasks: OrderedDict[str, _Told] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tasks)

    def take(self, session: Session, message: Progress, now: int) -> None:
        """Take what a node tells of itself and the tasks that it holds; ignore everything else."""
        blocked = message.blocked
        if blocked is not None and blocked[:BLOCKED_CHARS_MAX] != session.blocked:
            session.blocked = blocked[:BLOCKED_CHARS_MAX]
            session.blocked_since = now
        for entry in message.entries:
            if self._machine.view.holds(session.pid, entry.id, entry.version):
                self._take(entry, now)

    def _take(self, entry: ProgressEntry, now: int) -> None:
        fraction = _checked(entry.fraction)
        told = self._tasks.get(entry.id)
        if told is None or told.version != entry.version:
            told = self._tasks[entry.id] = _Told(entry.version)
        self._tasks.move_to_end(entry.id)
        told.runs.pop(entry.run, None)
        if fraction is not None or entry.text:
            if len(entry.run) > _ID_CHARS_MAX:
                return
            text = entry.text[:PROGRESS_CHARS_MAX]
            told.runs[entry.run] = ProgressRecord(entry.run, fraction, text, now)
            if len(told.runs) > RUNS_MAX:
                del told.runs[next(iter(told.runs))]
        if not told.runs:
            del self._tasks[entry.id]
        elif len(self._tasks) > TASKS_MAX:
            self._tasks.popitem(last=False)

    def of(self, task: TaskRecord) -> tuple[ProgressRecord, ...] | None:
        """Return the progress of a task's functions, the latest first; None: nothing is known."""
        told = self._tasks.get(task.id)
        if told is None or told.version != task.version or task.state not in _SHOWN:
            return None
        return tuple(reversed(told.runs.values()))

    def settle(self, ids: Iterable[str]) -> None:
        """Forget tasks that have settled."""
        for id_ in ids:
            self._tasks.pop(id_, None)

    def forget(self, slots: Collection[int]) -> None:
        """Forget the tasks of slots that another broker has from now on."""
        for id_ in [each for each in self._tasks if slot_of(each) in slots]:
            del self._tasks[id_]


def _checked(fraction: float | None) -> float | None:
    """Return a fraction within its bounds; None if it is no number."""
    if fraction is None or not math.isfinite(fraction):
        return None
    return min(1.0, max(0.0, fraction))
