"""A trio loop of its own for ``async def`` functions.

Each run is a task. The interpreter answers what the function asks of ``ctx``; whatever else it
awaits (a trio primitive, an HTTP library) is passed on to trio, with the run's own task around it.
"""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from typing import Any

import trio

from understudy_actors.activation import Run, StepReport
from understudy_actors.executor.results import Results
from understudy_actors.interpreter.routine import Routine
from understudy_actors.interpreter.step_result import NO_TRAP, StepResult


@types.coroutine
def _forward(trap: Any) -> Generator[Any, Any, Any]:
    """Yield to trio what the function yielded, and give back trio's answer."""
    return (yield trap)


def _where(thread: threading.Thread) -> str:
    """The line of the durable function that a thread is at: the outermost that is not ours."""
    frame = sys._current_frames().get(thread.ident or 0)
    place = "a place unknown"
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(("trio.", "understudy_actors.")):
            break
        code = frame.f_code
        place = f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"
        frame = frame.f_back
    return place


class AsyncLoop:
    """One thread with one trio loop, started with the first coroutine.

    `on_submit` is told of every step of one, on the thread that submits it.
    """

    def __init__(
        self,
        results: Results,
        now_ms: Callable[[], int],
        on_submit: Callable[[], None] | None = None,
    ) -> None:
        self._results = results
        self._on_submit = on_submit
        self._now_ms = now_ms
        self._thread: threading.Thread | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._started = threading.Event()
        self._nursery: trio.Nursery | None = None
        self._stopping = False
        self._came_round = True
        self._told = False
        # touched on the loop's thread only
        self._wakes: dict[Run, trio.Event] = {}
        self._scopes: dict[Run, trio.CancelScope] = {}

    def submit(self, run: Run) -> None:
        if self._on_submit is not None:
            self._on_submit()
        self._call(self._begin_or_wake, run)

    def close(self, run: Run) -> None:
        if self._token is not None:
            self._call(self._cancel, run)

    def stop(self) -> None:
        """End the loop; functions still under way are canceled and report nothing."""
        self._stopping = True
        if self._token is not None and self._thread is not None:
            self._call(self._end)
            self._thread.join(timeout=1.0)

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=trio.run, args=(self._main,), name="understudy-async", daemon=True
            )
            self._thread.start()
            self._started.wait()
        assert self._token is not None
        try:
            self._token.run_sync_soon(function, *args)
        except trio.RunFinishedError:
            return

    def blocked(self) -> str | None:
        """Call it every second or so: where in the code the loop is held up, if it has not come
        round since the last call; told once for each time."""
        thread, token = self._thread, self._token
        if thread is None or token is None or self._stopping:
            return None
        if not self._came_round:
            told, self._told = self._told, True
            return None if told else _where(thread)
        self._came_round = self._told = False
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(self._come_round)
        return None

    def _come_round(self) -> None:
        self._came_round = True

    async def _main(self) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._token = trio.lowlevel.current_trio_token()
            self._started.set()
            await trio.sleep_forever()

    def _end(self) -> None:
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()

    def _begin_or_wake(self, run: Run) -> None:
        wake = self._wakes.get(run)
        if wake is not None:
            wake.set()
            return
        assert self._nursery is not None
        self._wakes[run] = trio.Event()
        self._nursery.start_soon(self._drive, run)

    def _cancel(self, run: Run) -> None:
        scope = self._scopes.get(run)
        if scope is not None:
            scope.cancel()

    async def _drive(self, run: Run) -> None:
        routine = run.routine
        if routine.flush is None:
            routine.flush = partial(self._hand_out, run)
            routine.clock = self._now_ms
        with trio.CancelScope() as scope:
            self._scopes[run] = scope
            try:
                await self._step_until_done(run, routine)
            finally:
                del self._scopes[run], self._wakes[run]
                if routine.dropped:
                    routine.close()

    async def _step_until_done(self, run: Run, routine: Routine) -> None:
        if self._is_over(routine):
            return
        output = routine.step(self._now_ms())
        while True:
            while output.foreign is not NO_TRAP:
                output = await self._answer_foreign(run, routine, output)
            wake = self._wakes[run] = trio.Event()
            if not self._is_over(routine):
                self._results.put(StepReport(run, output))
            elif not routine.alive:
                return
            if output.done is not None or output.retry_after_s is not None:
                return
            output = await self._wait_for_more(routine, wake)

    async def _wait_for_more(self, routine: Routine, wake: trio.Event) -> StepResult:
        """Park at a request. A cancel, by a scope of the function's own or because the run was
        dropped, is raised there, so that its nurseries and scopes unwind in order."""
        try:
            await wake.wait()
        except trio.Cancelled as cancelled:
            if not routine.alive:
                raise
            return routine.interrupt(cancelled)
        return routine.step(self._now_ms())

    def _is_over(self, routine: Routine) -> bool:
        return routine.dropped or self._stopping

    async def _answer_foreign(self, run: Run, routine: Routine, output: StepResult) -> StepResult:
        trap, output.foreign = output.foreign, NO_TRAP
        if (output.commands or output.locals or output.cancels) and not self._is_over(routine):
            self._results.put(StepReport(run, output, False))
        try:
            value = await _forward(trap)
        except BaseException as error:
            # raised by trio at this await, so it belongs to the function
            return routine.resume_foreign(error=error)
        return routine.resume_foreign(value)

    def _hand_out(self, run: Run, output: StepResult) -> None:
        self._results.put(StepReport(run, output, False))
