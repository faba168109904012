"""An activation: a task that a node holds, with the runs of functions that belong to it.

Both the node, which decides, and the executor, which steps, build on this module.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

import msgspec

from understudy_actors.interpreter.empty import NO_NAMES
from understudy_actors.interpreter.routine import Routine
from understudy_actors.interpreter.step_result import ChildCommand, StepResult
from understudy_store.records import TAG_PARENT, PromiseRecord, origin_of


class Phase(Enum):
    """The stage of an activation's life; it uses credit only while it runs."""

    RUNNING = "running"
    #: all its runs wait for something outside; the lease is kept while it lingers
    WAITING = "waiting"
    #: its step goes on, but not before a promise settles (`StepReport.waits`); the lease is kept
    HELD = "held"
    #: the suspend is on its way
    SUSPENDING = "suspending"
    #: kept warm without a lease, until it is resumed or dropped
    SUSPENDED = "suspended"
    #: its result is on its way, or it was dropped
    ENDING = "ending"


#: phases in which the node has the lease, and may go on at once
LEASED: Final = frozenset({Phase.RUNNING, Phase.WAITING, Phase.HELD})


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
    #: it is being stepped, and its step waits (`StepReport.waits`)
    waits: bool = False
    done: bool = False


class StepReport(msgspec.Struct, eq=False):
    """The result of one step on its way from the executor to the node."""

    run: Run
    result: StepResult
    #: the step has ended; False: it goes on, and this is what it asks for so far
    final: bool = True
    #: the local call that the step ended with, performed at once: its routine and first step
    inlined: tuple[Routine, StepResult] | None = None
    #: The step goes on, but not before a promise settles that is awaited in it.
    waits: bool = False


class Activation:
    """A held task.

    Parameters
    ----------
    promise
        The promise that the task settles.
    version
        The version under which the node holds the task.
    """

    __slots__ = (
        "began_ms",
        "busy",
        "dropped",
        "fences_open",
        "held_cancels",
        "held_starts",
        "history",
        "id",
        "origin",
        "phase",
        "promise",
        "requests_open",
        "root",
        "runs",
        "version",
        "waiting_since_ms",
    )

    def __init__(self, promise: PromiseRecord, version: int) -> None:
        self.id = promise.id
        self.promise = promise
        self.version = version
        self.origin = origin_of(promise)
        self.phase = Phase.RUNNING
        #: The node has forgotten it. Replies and step results that still arrive are ignored.
        self.dropped = False
        #: runs by the id of their promise
        self.runs: dict[str, Run] = {}
        #: the run of the task's own function
        self.root: Run | None = None
        #: children from the preload, by the id of the run that made them
        self.history: dict[str, list[PromiseRecord]] = NO_NAMES
        #: Scheduled runs, and retries that are due later; while there are any, it is not waiting.
        self.busy = 0
        #: fences, and cancels in other slots, that have not been answered
        self.requests_open = 0
        #: commands of the fences among them, by identity
        self.fences_open: dict[int, tuple[ChildCommand, ...]] = {}
        #: promises of other slots that are to be canceled once their creates are answered
        self.held_cancels: set[str] = set()
        #: what starts a step in another slot once its create is answered, by its id
        self.held_starts: dict[str, Callable[[], None]] = {}
        #: epoch milliseconds
        self.waiting_since_ms = 0
        #: when the node got the task, or got it again
        self.began_ms = 0

    def load(self, preload: list[PromiseRecord]) -> None:
        """Sort the preload by the run that made each promise."""
        self.history = {}
        for record in preload:
            parent = record.tags.get(TAG_PARENT, self.id)
            self.history.setdefault(parent, []).append(record)

    def take_history(self, id: str) -> list[PromiseRecord] | None:
        """Return the recorded children of the run `id`; only the first time, to free the memory."""
        return self.history.pop(id, None) if self.history else None

    def run_of(self, record: PromiseRecord) -> Run | None:
        """Return the run that made a promise of this activation."""
        return self.runs.get(record.tags.get(TAG_PARENT, self.id))

    def wake_on(self) -> list[str]:
        """Return ids of which at least one must settle for this activation to go on."""
        ids: dict[str, None] = {}
        for run in self.runs.values():
            if not run.done:
                ids.update(dict.fromkeys(run.routine.calls.wake_on(run.routine.wait)))
        return list(ids)
