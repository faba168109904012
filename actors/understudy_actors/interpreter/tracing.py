"""The port to traces: what happens to a run, as it is told to whoever makes spans of it.

The floors below the SDK know neither spans nor their library. They tell a `RunTrace` of the events
of its run. Where nothing is traced there is none, so that it costs one comparison.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from contextvars import Context as Variables
from typing import Final, Protocol

from understudy_actors.interpreter.ports import FunctionLike
from understudy_actors.interpreter.replay import ReplayState
from understudy_actors.interpreter.requests import CallSpec
from understudy_actors.interpreter.step_result import StepResult
from understudy_store.records import PromiseRecord


class RunTrace(Protocol):
    """The trace of one run: a task, or a local call inside one. None of its methods raises.

    All but `started`, `calling` and `stepped` are called by the node's core; those three by whoever
    steps the run.
    """

    @property
    def unanswered(self) -> Container[str]:
        """The ids of calls that `answered` is to be told of."""

    def enter(self, variables: Variables | None, replay: ReplayState) -> Variables:
        """Return the context variables of a run that is made, given those of its caller."""

    def started(self) -> None:
        """Note that the function begins now."""

    def calling(self, spec: CallSpec) -> None:
        """Note that the run makes a remote call that is new, and fill in ``spec.trace``."""

    def answered(self, id: str, refusal: str | None) -> None:
        """Note that the store has taken a call, or why it has refused it."""

    def step(self, name: str, id: str) -> RunTrace | None:
        """Return the trace of a local call that the run makes."""

    def next_attempt(self) -> RunTrace | None:
        """Return the trace of the same local call, run once more."""

    def suspended(self, awaited: Sequence[str]) -> None:
        """Note that the task has been given up until one of these promises settles."""

    def resumed(self, version: int) -> None:
        """Note that the task goes on from memory, under another version."""

    def stepped(self, result: StepResult) -> None:
        """Note that a step, or a part of one, is over, which may be the end of the function."""

    def let_go(self, reason: str) -> None:
        """Note that this node has nothing more to do with the run, which has not ended."""


class Tracing(Protocol):
    """The maker of traces. The SDK fills it."""

    def attempt(
        self,
        promise: PromiseRecord,
        function: FunctionLike,
        version: int,
        number: int,
        replayed: int,
    ) -> RunTrace | None:
        """Return the trace of a task that this node has been handed; None: it has none.

        Parameters
        ----------
        version
            The version under which the task is held.
        number
            Of the attempt, from 1.
        replayed
            How many promises its history has.
        """


class NoTracing:
    """Traces nothing."""

    __slots__ = ()

    def attempt(
        self,
        promise: PromiseRecord,
        function: FunctionLike,
        version: int,
        number: int,
        replayed: int,
    ) -> None:
        """Return None, because there is no trace."""


NO_TRACING: Final = NoTracing()
