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
    """Answers the requests of tasks of one run, and keeps their waits beside that of the function.

    A promise that has settled is looked up among the waits for a single one, and shown to the
    others (for an ``all`` or a ``race``), of which there are few.
    """

    def __init__(self, calls: ChildCalls) -> None:
        self._calls = calls
        #: the id of the only promise that a wait needs, if it is of that kind, and whom to wake
        self._wakes: dict[Wait, tuple[str | None, Callable[[], None]]] = {}
        self._by_id: dict[str, list[Wait]] = {}
        self._others: dict[Wait, None] = {}

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
        id = next(iter(wait.remaining)) if len(wait.remaining) == 1 else None
        self._wakes[wait] = id, wake
        if id is None:
            self._others[wait] = None
        else:
            self._by_id.setdefault(id, []).append(wait)

    def discard(self, wait: Wait) -> None:
        """Forget a wait: it is over, or its task goes on without it."""
        id, _ = self._wakes.pop(wait)
        self._others.pop(wait, None)
        if id is not None and id in self._by_id:
            self._by_id[id].remove(wait)

    def hit(self, id: str) -> None:
        """Count a promise that has settled."""
        for wait in (*self._by_id.pop(id, ()), *self._others):
            wait.hit(id)
            if wait.ready:
                self._wakes[wait][1]()
