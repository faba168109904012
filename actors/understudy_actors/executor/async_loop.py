"""A trio loop for ``async def`` functions, on a thread of its own.

Each run is a task. The interpreter answers requests made through ``ctx``. Everything else that a
function awaits (a trio primitive, an HTTP library) is passed on to trio as a *trap*, within the
run's own task, so that cancel scopes and nurseries of the function work as usual.
"""

from __future__ import annotations

import threading
import types
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import trio

from understudy_actors.activation import Run, StepReport
from understudy_actors.executor.results import Results
from understudy_actors.executor.stall_watch import current_line
from understudy_actors.interpreter.routine import Routine
from understudy_actors.interpreter.step_result import NO_TRAP, StepResult
from understudy_broker.transport.loop_lock import LoopThread


@types.coroutine
def _forward(trap: Any) -> Generator[Any, Any, Any]:
    """Yield to trio the trap that the function has yielded; return trio's answer."""
    return (yield trap)


class AsyncLoop:
    """One thread with one trio loop, started with the first coroutine.

    Parameters
    ----------
    results
        Gets the report of each step.
    now_ms
        The clock, epoch milliseconds.
    on_submit
        Called at each `submit`, on its thread: from then on `blocked` has something to watch.
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
        self._loop: LoopThread | None = None
        self._started = threading.Event()
        self._nursery: trio.Nursery | None = None
        self._stopping = False
        #: the loop has run since the last `blocked` that asked it to
        self._is_responsive = True
        #: the current blockage was reported by `blocked`
        self._reported = False
        # Touched on the loop's thread only.
        self._wake_events: dict[Run, trio.Event] = {}
        self._scopes: dict[Run, trio.CancelScope] = {}

    def submit(self, run: Run) -> None:
        """Begin a run, or step it again, because something that it waits for has settled."""
        if self._on_submit is not None:
            self._on_submit()
        self._run_soon(self._begin_or_wake, run)

    def close(self, run: Run) -> None:
        """Cancel a dropped run, so that it unwinds and is closed."""
        if self._loop is not None:
            self._run_soon(self._cancel, run)

    def stop(self) -> None:
        """End the loop. Functions under way are canceled and report nothing."""
        self._stopping = True
        if self._loop is not None and self._thread is not None:
            self._run_soon(self._end)
            self._thread.join(timeout=1.0)

    @property
    def threads(self) -> list[threading.Thread]:
        """The loop's thread, once there is one."""
        return [] if self._thread is None else [self._thread]

    def blocked(self) -> str | None:
        """Report a function that blocks the loop; called every second or so.

        Returns
        -------
        str | None
            The line that the loop is at, if the loop has not run anything since the last call.
            None for an unblocked loop, and for a blockage that was reported already.
        """
        thread, loop = self._thread, self._loop
        if thread is None or loop is None or self._stopping:
            return None
        if not self._is_responsive:
            reported, self._reported = self._reported, True
            return None if reported else current_line(thread) or "a place unknown"
        self._is_responsive = self._reported = False
        loop.run_soon(self._mark_responsive)
        return None

    def _run_soon(self, function: Callable[..., None], *args: Any) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=trio.run, args=(self._main,), name="understudy-async", daemon=True
            )
            self._thread.start()
            self._started.wait()
        assert self._loop is not None
        self._loop.run_soon(function, *args)

    # On the loop's thread ------------------------------------------------------------------------

    async def _main(self) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._loop = LoopThread()
            self._started.set()
            await trio.sleep_forever()

    def _end(self) -> None:
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()

    def _mark_responsive(self) -> None:
        self._is_responsive = True

    def _begin_or_wake(self, run: Run) -> None:
        event = self._wake_events.get(run)
        if event is not None:
            event.set()
            return
        assert self._nursery is not None
        self._wake_events[run] = trio.Event()
        # A task of trio begins with a copy of the variables in which it is started.
        run.routine.variables.run(self._nursery.start_soon, self._drive, run)

    def _cancel(self, run: Run) -> None:
        scope = self._scopes.get(run)
        if scope is not None:
            scope.cancel()

    async def _drive(self, run: Run) -> None:
        routine = run.routine
        if routine.flush is None:
            routine.hand_out_to(partial(self._report_part, run), self._now_ms)
        with trio.CancelScope() as scope:
            self._scopes[run] = scope
            try:
                await self._step_until_done(run, routine)
            finally:
                del self._scopes[run], self._wake_events[run]
                if routine.dropped:
                    routine.close()

    async def _step_until_done(self, run: Run, routine: Routine) -> None:
        if self._is_over(routine):
            return
        result = routine.step(self._now_ms())
        while True:
            while result.trap is not NO_TRAP:
                result = await self._answer_trap(run, routine, result)
            # Made before the report, because the node may answer the report at once.
            event = self._wake_events[run] = trio.Event()
            if not self._is_over(routine):
                self._results.put(StepReport(run, result))
            elif not routine.alive:
                return
            if result.done is not None or result.retry_after_s is not None:
                return
            result = await self._next_step(routine, event)

    async def _next_step(self, routine: Routine, event: trio.Event) -> StepResult:
        """Wait at a request until the run is submitted again, and step it.

        A cancellation, by a scope of the function itself or because the run was dropped, is raised
        inside the function at its request, so that its nurseries and scopes unwind in order.
        """
        try:
            await event.wait()
        except trio.Cancelled as canceled:
            if not routine.alive:
                raise
            return routine.interrupt(canceled)
        return routine.step(self._now_ms())

    def _is_over(self, routine: Routine) -> bool:
        return routine.dropped or self._stopping

    async def _answer_trap(self, run: Run, routine: Routine, result: StepResult) -> StepResult:
        trap, result.trap = result.trap, NO_TRAP
        if (result.commands or result.locals or result.cancels) and not self._is_over(routine):
            # The trap may take long, so the calls made before it are sent now.
            self._report_part(run, result)
        try:
            value = await _forward(trap)
        except BaseException as error:
            # trio raises it at this await, so it belongs to the function.
            return routine.answer_trap(error=error)
        return routine.answer_trap(value)

    def _report_part(self, run: Run, result: StepResult) -> None:
        """Report the commands of a long step while it goes on."""
        self._results.put(StepReport(run, result, False))
