"""The attempt log, as far as the machine fills it: one record for each attempt that ended badly.

An attempt is one stretch in which a node holds a task. That it ended with a value, or suspended,
the task itself says, so a call that goes well costs no record. The machine adds a record where it
takes a task from its holder, and numbers the records of each task; the engine keeps the first few
and the last (`records.forgotten_attempt`). A deadline, or a cancel, that ends a task is told by its
promise, and is no attempt of its own.

A crash that is retracted later (`crash_counts.retract`) stays in the log: the task was given to
another node because of it.
"""

from __future__ import annotations

from understudy_store.machine.live import Task
from understudy_store.machine.state import State
from understudy_store.records import (
    ATTEMPT_TEXT_MAX,
    ERROR_CHARS_MAX,
    AttemptEnd,
    AttemptRecord,
    name_of,
)


def add(
    s: State,
    task: Task,
    end: AttemptEnd,
    now: int,
    error: str | None = None,
    text: str | None = None,
) -> None:
    """Log the attempt that ends now. The caller then moves the task, or settles its promise."""
    task.logged += 1
    pid = task.pid
    is_held = pid is not None
    s.attempts.append(
        AttemptRecord(
            task.id,
            task.logged,
            task.version,
            end,
            now,
            None if pid is None else name_of(pid),
            None if pid is None else s.hosts.of(pid),
            task.queued_at if is_held else None,
            task.acquired_at if is_held else None,
            None if error is None else error[-ERROR_CHARS_MAX:],
            None if text is None else text[:ATTEMPT_TEXT_MAX],
        )
    )
