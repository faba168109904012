"""Crash counts: how often in a row the holder of a task vanished, and when that is forgotten.

One crash says little: each task that a node held when it vanished counts one. But a task that makes
no progress in between and takes its holder with it time and again is likely the cause, and the
broker may park it (``task.halt`` with a cause). So the count begins anew whenever the task makes
progress: a step is stored, something that it called ends, it suspends, or its holder gives it back
(semantics: Ours, deaths).

A node that was presumed dead may come back. It then retracts the crashes that it was blamed for, as
far as they are remembered (`retract`). The column and the wire field of the count are named
``deaths``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from understudy_store.machine.live import Task
from understudy_store.machine.state import State
from understudy_store.machine.task_moves import may
from understudy_store.moments import moment

#: crashes of one task that can still be retracted; further ones are rare, and final
RETRACTABLE_MAX: Final = 64


def count(task: Task, crash: str, now: int, *, presumed: bool) -> None:
    """Count a crash of the task's holder. The caller marks the task dirty.

    Parameters
    ----------
    crash
        How the holder vanished, in words.
    presumed
        It is only presumed dead and may come back: see `retract`.
    """
    assert task.pid is not None
    task.crash_count += 1
    task.cause = f"{crash}, {moment(now)}"
    if presumed:
        retractable = task.retractable = task.retractable or {}
        retractable[task.version] = task.pid
        if len(retractable) > RETRACTABLE_MAX:
            del retractable[next(iter(retractable))]


def reset(s: State, task: Task) -> None:
    """Begin anew: the task made progress, or a person says that it may go on."""
    task.crash_count = 0
    task.cause = task.retractable = None
    s.dirty[task.id] = s.promises[task.id]


def retract(s: State, pid: str, had: Iterable[tuple[str, int]]) -> None:
    """Take back the crashes of a node that has come back, of each (id, version) that it had."""
    for task_id, version in had:
        promise = s.promises.get(task_id)
        task = None if promise is None else promise.task
        if task is None or task.retractable is None or task.retractable.get(version) != pid:
            continue
        del task.retractable[version]
        if may(task, "recount"):
            task.crash_count -= 1
            if not task.crash_count:
                task.cause = None
            s.dirty[task_id] = s.promises[task_id]
