"""Requests of the tasks that a coroutine has started: their answers, and the waits for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from understudy_actors.interpreter.child_calls import ChildCalls
from understudy_actors.interpreter.requests import Request
from understudy_actors.interpreter.step_result import StepResult
from understudy_actors.interpreter.wait import Wait
from understudy_actors.interpreter.yields import answer


class TaskWaits:
    """Answers the requests of the tasks of one run, and keeps what they wait for.

    Parameters
    ----------
    calls
        The calls of the run.
    check
        Raises if a request must not be answered.
    """

    def __init__(self, calls: ChildCalls, check: Callable[[Request[Any]], None]) -> None:
        self._calls = calls
        self._check = check
        #: the ids that count for each wait, and whom to wake
        self._wakes: dict[Wait, tuple[list[str], Callable[[], None]]] = {}
        self._by_id: dict[str, list[Wait]] = {}

    def ask(self, asked: Request[Any], result: StepResult) -> Any:
        """Return the value of a request, or a `Wait` if it is not known yet.

        Parameters
        ----------
        result
            Takes what is to be done because of the request.

        Raises
        ------
        BaseException
            The error that the awaited call has failed with; `ReplayState.mismatch` if the history
            holds another call.
        """
        return self._within(result, self._answer, asked)

    def finish(self, wait: Wait, result: StepResult) -> Any:
        """Return the value of a wait that is over, or a `Wait` if it goes on."""
        return self._within(result, wait.finish)

    def _answer(self, asked: Request[Any]) -> Any:
        self._check(asked)
        if self._calls.deferred:
            self._calls.make_deferred(asked, alone=False)
        return answer(self._calls, asked)

    def _within(self, result: StepResult, function: Callable[..., Any], *args: Any) -> Any:
        self._calls.result = result
        try:
            return function(*args)
        finally:
            del self._calls.result

    def add(self, wait: Wait, wake: Callable[[], None]) -> None:
        """Have `wake` called as soon as `wait` is over, or has something to do."""
        ids = wait.ids()
        self._wakes[wait] = ids, wake
        for id in ids:
            self._by_id.setdefault(id, []).append(wait)

    def discard(self, wait: Wait) -> None:
        """Forget a wait: it is over, or its task goes on without it."""
        ids, _ = self._wakes.pop(wait)
        for id in ids:
            waits = self._by_id.get(id)
            if waits is not None and wait in waits:
                waits.remove(wait)

    def hit(self, id: str) -> None:
        """Count a promise that has settled."""
        for wait in self._by_id.pop(id, ()):
            wait.hit(id)
            if wait.ready:
                self._wakes[wait][1]()
