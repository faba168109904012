"""Deaths: how often in a row the holder of a task vanished, and when that is forgotten.

One death says little: whatever a node held when it vanished counts one. A task that gets nowhere in
between and takes its holder with it time and again is likely what kills it, and a supervisor may
park it (``task.halt`` with a cause). So the count begins anew whenever the task gets somewhere: a
step is stored, something that it called ends, it suspends, its holder gives it back (semantics:
Ours, deaths).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from understudy_store.machine.live import Task
from understudy_store.machine.state import State

#: deaths in a row of one task that may yet be taken back; more are rare, and stay
DOUBTS_MAX: Final = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: the last second that a date can say, in milliseconds
_DATE_MS_MAX = 253_402_300_799_000


def moment(epoch_ms: int) -> str:
    """``2026-01-31 12:00:00 UTC``."""
    if not 0 <= epoch_ms <= _DATE_MS_MAX:
        return f"{epoch_ms} ms after 1970"
    return f"{_EPOCH + timedelta(milliseconds=epoch_ms):%Y-%m-%d %H:%M:%S} UTC"


def count(task: Task, how: str, now: int, *, doubtful: bool) -> None:
    """The holder of `task` vanished; `doubtful`: it may live, see `acquit`. The caller dirties."""
    assert task.pid is not None
    task.deaths += 1
    task.cause = f"{how}, {moment(now)}"
    if doubtful:
        doubts = task.doubts = task.doubts or {}
        doubts[task.version] = task.pid
        if len(doubts) > DOUBTS_MAX:
            del doubts[next(iter(doubts))]


def forget(s: State, task: Task) -> None:
    """It got somewhere, or a person says that it may go on."""
    task.deaths = 0
    task.cause = task.doubts = None
    s.dirty[task.id] = s.promises[task.id]


def acquit(s: State, pid: str, had: Iterable[tuple[str, int]]) -> None:
    """`pid` is back, which had these (id, version) when it vanished: they have not killed it."""
    for task_id, version in had:
        promise = s.promises.get(task_id)
        task = None if promise is None else promise.task
        if task is None or task.doubts is None or task.doubts.get(version) != pid:
            continue
        del task.doubts[version]
        if task.state not in ("halted", "fulfilled"):
            task.deaths -= 1
            if not task.deaths:
                task.cause = None
            s.dirty[task_id] = s.promises[task_id]
