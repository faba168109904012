"""An activation: a task that a node holds, with the runs of functions that belong to it.

Both the node, which decides, and the executor, which steps, build on this module.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from understudy_actors.interpreter.empty import NO_NAMES
from understudy_actors.interpreter.routine import Routine
from understudy_actors.interpreter.step_result import StepResult
from understudy_store.records import TAG_ORIGIN, TAG_PARENT, PromiseRecord


class Phase(Enum):
    """Where an activation is in its life; it uses credit only while it runs."""

    RUNNING = "running"
    #: all its runs wait for something outside; the lease is kept for the linger
    WAITING = "waiting"
    #: the suspend is on its way
    SUSPENDING = "suspending"
    #: kept warm without a lease, until it is resumed or forgotten
    SUSPENDED = "suspended"
    #: its result is on its way
    ENDING = "ending"


class Run(msgspec.Struct, eq=False):
    """The node's record of one function under way within an activation.

    Parameters
    ----------
    parent
        The run that called it; None for the task's own function.
    """

    activation: Activation
    routine: Routine
    parent: Run | None
    #: It is queued or being stepped, so a settlement need not schedule it.
    scheduled: bool = False
    done: bool = False


class StepReport(msgspec.Struct, eq=False):
    """One step's result on its way from the executor to the node."""

    run: Run
    result: StepResult
    #: the step has ended; False: it goes on, and this is what it asks for so far
    final: bool = True
    #: the local call that the step ended with, performed at once: its routine and first step
    inlined: tuple[Routine, StepResult] | None = None


class Activation:
    """A held task. `busy` counts what keeps it from waiting: runs scheduled, retries due."""

    __slots__ = (
        "busy",
        "fences_open",
        "history",
        "id",
        "origin",
        "phase",
        "promise",
        "root",
        "runs",
        "version",
        "waiting_since",
    )

    def __init__(self, promise: PromiseRecord, version: int) -> None:
        self.id = promise.id
        self.promise = promise
        self.version = version
        self.origin = promise.tags.get(TAG_ORIGIN, promise.id)
        self.phase = Phase.RUNNING
        #: runs by the id of their promise
        self.runs: dict[str, Run] = {}
        self.root: Run | None = None
        #: children from the preload, by the run that made them
        self.history: dict[str, list[PromiseRecord]] = NO_NAMES
        self.busy = 0
        #: fences that the broker has not answered
        self.fences_open = 0
        self.waiting_since = 0

    def remember(self, preload: list[PromiseRecord]) -> None:
        """Sort the preload by the run that made each promise."""
        self.history = {}
        for record in preload:
            parent = record.tags.get(TAG_PARENT, self.id)
            self.history.setdefault(parent, []).append(record)

    def recorded(self, id: str) -> list[PromiseRecord] | None:
        """Children of the run `id` from the preload, given once."""
        return self.history.pop(id, None) if self.history else None

    def run_of(self, record: PromiseRecord) -> Run | None:
        """The run that made a promise of this activation."""
        return self.runs.get(record.tags.get(TAG_PARENT, self.id))

    def wake_on(self) -> list[str]:
        """What must settle, at least one, for this activation to go on."""
        ids: dict[str, None] = {}
        for run in self.runs.values():
            if not run.done:
                ids.update(dict.fromkeys(run.routine.wake_on()))
        return list(ids)
