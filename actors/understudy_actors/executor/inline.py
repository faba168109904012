"""Quick plain functions: performed in the step of their caller, without a thread of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from understudy_actors.interpreter.ports import FunctionLike
from understudy_actors.interpreter.routine import Routine, local_routine
from understudy_actors.interpreter.step_result import StepResult

#: a change of thread, there and back, takes a good part of it
QUICK_S: Final = 0.000_5
#: functions that are remembered; one that came by pickle is a new one each time
FUNCTIONS_MAX: Final = 1024


class CostEstimate:
    """A running mean for each function, in which the last call counts for half."""

    def __init__(self) -> None:
        self._mean_s: dict[FunctionLike, float] = {}

    def observe(self, function: FunctionLike, took_s: float) -> None:
        """It took that long this time."""
        mean_s = self._mean_s.get(function, took_s)
        if len(self._mean_s) >= FUNCTIONS_MAX:
            self._mean_s.clear()
        self._mean_s[function] = (mean_s + took_s) / 2

    def is_quick(self, function: FunctionLike) -> bool:
        """Whether it is known, and has been quick."""
        mean_s = self._mean_s.get(function)
        return mean_s is not None and mean_s <= QUICK_S


def perform_at_once(
    caller: Routine,
    output: StepResult,
    is_quick: Callable[[FunctionLike], bool],
    step: Callable[[Routine], StepResult],
) -> tuple[Routine, StepResult] | None:
    """Perform the call that a step ended with, if it is of a quick plain function.

    And if its caller waits for it and for nothing else, so that nothing that would run beside it
    is held up. That spares two changes of thread, and creating its promise a commit of its own.

    Returns
    -------
    tuple or None
        The callee's routine and its first step; None where it is to get a step of its own.
    """
    if len(output.locals) != 1 or len(output.commands) > 1:
        return None
    start = output.locals[0]
    if (
        start.function.kind == "plain"
        and caller.wait is not None
        and list(caller.wait.remaining) == [start.spec.id]
        and not caller.dropped
        and is_quick(start.function)
    ):
        routine = local_routine(caller, start)
        return routine, step(routine)
    return None
