"""Inlining: a quick plain function is performed within the step of its caller.

A local call normally gets a step of its own, on any worker. For a function that returns in less
time than a switch of threads takes, that is a waste: two switches, and a commit of its own for the
creation of its promise. So the pool measures plain functions, and if a step ends with a call of a
quick one it performs the callee on the same thread at once, before the step is reported.

Why this is safe: the callee's routine is new, and no other thread knows it before the report is in
the queue. The node handles the report as if the callee had been stepped first and then reported, so
the stored history is the same. Only a call that its caller waits for, and for nothing beside it, is
inlined. So nothing that could run at the same time is held up.

What is not perfect: a function that was quick so far may block this time. It then blocks its
caller, which would have waited for it anyway, and the next calls get steps of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from understudy_actors.interpreter.ports import FunctionLike
from understudy_actors.interpreter.routine import Routine, local_routine
from understudy_actors.interpreter.step_result import StepResult
from understudy_store.slots import slot_of

#: Seconds up to which a function is quick: two switches of threads take a good part of this time.
QUICK_S: Final = 0.000_5
#: Functions to remember; an unpickled function is a new one each time.
FUNCTIONS_MAX: Final = 1024


class CostEstimate:
    """A moving average of the duration of each function; the last call counts for half."""

    def __init__(self) -> None:
        self._mean_s: dict[FunctionLike, float] = {}

    def observe(self, function: FunctionLike, took_s: float) -> None:
        """Take in that a call has taken `took_s` seconds."""
        mean_s = self._mean_s.get(function, took_s)
        if len(self._mean_s) >= FUNCTIONS_MAX:
            self._mean_s.clear()
        self._mean_s[function] = (mean_s + took_s) / 2

    def is_quick(self, function: FunctionLike) -> bool:
        """Return whether `function` was measured, and is quick on average."""
        mean_s = self._mean_s.get(function)
        return mean_s is not None and mean_s <= QUICK_S


def inline_call(
    caller: Routine,
    result: StepResult,
    is_quick: Callable[[FunctionLike], bool],
    step: Callable[[Routine], StepResult],
) -> tuple[Routine, StepResult] | None:
    """Perform the local call that a step has ended with, if it qualifies for inlining.

    Returns
    -------
    tuple[Routine, StepResult] | None
        The callee's routine and its first step; None if the call needs a step of its own.
    """
    if len(result.locals) != 1 or len(result.commands) > 1:
        return None
    start = result.locals[0]
    if (
        start.function.kind == "plain"
        and caller.wait is not None
        and list(caller.wait.remaining) == [start.spec.id]
        and not caller.dropped
        # One of another slot may have been performed before: see `NodeCore`.
        and slot_of(start.spec.id) == slot_of(caller.calls.frame.branch)
        and is_quick(start.function)
    ):
        routine = local_routine(caller, start)
        return routine, step(routine)
    return None
