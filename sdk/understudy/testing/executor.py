"""The executor of a simulated node: one run after the other, in the thread that makes the moves.

``async def`` functions run on a loop in a thread of its own, as on a real node, and the thread that
makes the move waits for each of their steps. If a function has started tasks, its step has ended as
soon as one of them waits for a promise and the loop has come to rest.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from understudy.replays.steps import QUIET_TURNS
from understudy.testing.threads import UNKNOWN_THREAD, SimulationThreads
from understudy_actors.activation import Run, StepReport
from understudy_actors.executor.results import Results
from understudy_actors.interpreter.ports import LoopName
from understudy_actors.interpreter.routine import Routine
from understudy_actors.interpreter.step_result import StepResult

if TYPE_CHECKING:
    from understudy_actors.executor.async_loop import AsyncLoop

#: Seconds of real time that one step of an ``async def`` function may take before the test fails.
STEP_TIMEOUT_S: Final = 60.0

#: Takes the report of a step that has ended, or of the part of it that was flushed.
OnStepped = Callable[[StepReport], None]


class SimulatedExecutor:
    """Steps runs one after the other, when it is told to (an `ExecutorPort`).

    Parameters
    ----------
    threads
        Its lock is held by the caller, and free while a function runs.
    now_ms
        The clock of the simulation, in epoch milliseconds.
    on_stepped
        Takes the report of each step.
    make_move
        Called with the lock held while a coroutine is waited for: makes a move for which the
        coroutine may be waiting, or returns False.
    """

    def __init__(
        self,
        threads: SimulationThreads,
        now_ms: Callable[[], int],
        on_stepped: OnStepped,
        make_move: Callable[[], bool],
    ) -> None:
        self.queue: deque[Run] = deque()
        self._threads = threads
        self._now_ms = now_ms
        self._on_stepped = on_stepped
        self._make_move = make_move
        self._results = Results(self._wake)
        self._loops: dict[LoopName, AsyncLoop] = {}
        self._loop_threads: dict[LoopName, int] = {}
        #: coroutines that are being stepped
        self._active: set[Run] = set()
        #: coroutines whose tasks wait, so that news wake them in the middle of a step
        self._open: set[Run] = set()
        self._is_quiet = False

    def submit(self, run: Run) -> None:
        """Queue a run for its next step."""
        routine = run.routine
        if routine.flush is None and routine.kind == "generator":
            routine.hand_out_to(partial(self._flush, run), self._now_ms)
        self.queue.append(run)

    def withdraw(self, run: Run) -> bool:
        """Take a run out of the queue; return whether it was there."""
        if run in self.queue:
            self.queue.remove(run)
            return True
        return False

    def close(self, run: Run) -> None:
        """Close the routine of a run that is dropped, unless its next step will do it."""
        if run.routine.kind == "coroutine":
            loop = self._loops.get(run.routine.function.loop)
            if loop is not None:
                loop.close(run)
        elif not run.scheduled:
            run.routine.close()

    def run_next(self) -> None:
        """Step the run that has waited longest."""
        run = self.queue.popleft()
        routine = run.routine
        if routine.kind == "coroutine":
            if not routine.dropped:
                self._step_coroutine(run)
            return
        if not routine.dropped:
            self._on_stepped(StepReport(run, self._step(routine)))
        if routine.dropped:
            routine.close()

    def stop(self) -> None:
        """End the loops that there are. The lock must be free."""
        for loop in self._loops.values():
            loop.stop()

    def _step(self, routine: Routine) -> StepResult:
        with self._threads.inside_function():
            return routine.step(self._now_ms())

    def _flush(self, run: Run, result: StepResult) -> None:
        """Report what a step has asked for so far, on the thread of the function."""
        with self._threads.lock:
            self._on_stepped(StepReport(run, result, False))

    # Coroutines ----------------------------------------------------------------------------------

    def _step_coroutine(self, run: Run) -> None:
        name = run.routine.function.loop
        loop = self._loops.get(name)
        if loop is None:
            from understudy_actors.executor.async_loop import AsyncLoop  # loads trio

            now_ms = partial(self._loop_now_ms, name)
            loop = AsyncLoop(
                self._results,
                now_ms,
                name=name,
                on_news=self._on_news,
                hold_turns=QUIET_TURNS,
                lends=False,
            )
            self._loops[name] = loop
        self._threads.enter(self._loop_threads.get(name, UNKNOWN_THREAD))
        if run not in self._open:
            self._active.add(run)
        loop.submit(run)
        try:
            self._wait_for(run)
            # What wakes an open step need not concern any of its tasks.
            while run in self._open and not self._comes_to_rest(loop):
                self._wait_for(run)
        finally:
            self._active.discard(run)
            self._threads.leave(self._loop_threads.get(name, UNKNOWN_THREAD))

    def _on_news(self, run: Run) -> None:
        """Have a step go on because of what has settled; called on the thread of a move."""
        if run in self._active:
            self._loops[run.routine.function.loop].take_news(run)
        elif run in self._open and run not in self.queue:
            self.queue.append(run)

    def _comes_to_rest(self, loop: AsyncLoop) -> bool:
        """Wait until a loop has come to rest; return False if there is a report meanwhile."""
        self._is_quiet = False
        loop.call_after(QUIET_TURNS, self._on_quiet)
        while not self._is_quiet:
            self._threads.lock.wait(STEP_TIMEOUT_S)
        return not self._results

    def _on_quiet(self) -> None:
        with self._threads.lock:
            self._is_quiet = True
            self._threads.lock.notify_all()

    def _wait_for(self, run: Run) -> None:
        ends_at = time.monotonic() + STEP_TIMEOUT_S
        while not self._has_ended(run):
            if self._make_move():
                continue
            if not self._threads.lock.wait(max(0.0, ends_at - time.monotonic())):
                raise TimeoutError(
                    f"{run.routine.function.name} {run.routine.id} has awaited something other "
                    f"than ctx for {STEP_TIMEOUT_S:g} s. On a stage only ctx.sleep and deadlines "
                    "are skipped: pause with ctx.sleep, and replace the service that it calls with "
                    "a stand-in"
                )

    def _has_ended(self, run: Run) -> bool:
        """Report the results that the loop has produced; return whether the run's step ended."""
        for report in self._results.take():
            (self._open.add if report.waits else self._open.discard)(report.run)
            if report.waits or report.final:
                self._active.discard(report.run)
            else:
                self._active.add(report.run)
            self._on_stepped(report)
        return run not in self._active or run.routine.dropped

    def _loop_now_ms(self, name: LoopName) -> int:
        """Return the time, on the loop's thread.

        The loop asks before each step, so the first time it asks tells us its thread.
        """
        if name not in self._loop_threads:
            self._loop_threads[name] = threading.get_ident()
            self._threads.loop_started(self._loop_threads[name])
        return self._now_ms()

    def _wake(self, _: bool) -> None:
        """Wake the thread that waits for a coroutine; called on the loop's thread."""
        with self._threads.lock:
            self._threads.lock.notify_all()
