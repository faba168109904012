"""Where functions run on a stage: generators and plain ones in the thread that turns the world.

``async def`` functions run on a trio loop of their own, as on a node, and the turning thread waits
for each step of them. While a function runs, the world's lock is free, so that it may use the very
runtime that it runs on.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from understudy_actors.activation import Run, StepReport
from understudy_actors.executor.results import Results
from understudy_actors.interpreter.routine import Routine
from understudy_actors.interpreter.step_result import StepResult

if TYPE_CHECKING:
    from understudy_actors.executor.async_loop import AsyncLoop

#: seconds that one step of an ``async def`` may take before the test is told
PATIENCE_S: Final = 60.0

#: stands for a thread that has not begun
_UNKNOWN: Final = -1

#: takes what a step ended with, or has handed out so far
Stepped = Callable[[StepReport], None]


class InlineExecutor:
    """Steps runs one after the other, when it is told to (`ExecutorPort`).

    Parameters
    ----------
    lock
        The world's; held by whoever calls, and free while a function runs.
    inside
        Gets the threads that are inside a function, one entry for each.
    loops
        Gets the threads of the loops that ``async def`` functions run on.
    go_on
        Called while a coroutine is waited for, with the lock held: does something that others
        wait for, or returns False.
    """

    def __init__(
        self,
        lock: threading.Condition,
        inside: list[int],
        loops: set[int],
        now_ms: Callable[[], int],
        stepped: Stepped,
        go_on: Callable[[], bool],
    ) -> None:
        self.queue: deque[Run] = deque()
        self._lock = lock
        self._inside = inside
        self._loops = loops
        self._now_ms = now_ms
        self._stepped = stepped
        self._go_on = go_on
        self._results = Results(self._wake)
        self._loop: AsyncLoop | None = None
        self._loop_thread = _UNKNOWN
        #: coroutines whose step has ended
        self._ended: set[Run] = set()

    def submit(self, run: Run) -> None:
        routine = run.routine
        if routine.flush is None and routine.function.kind == "generator":
            routine.hand_out_to(partial(self._hand_out, run), self._now_ms)
        self.queue.append(run)

    def withdraw(self, run: Run) -> bool:
        if run in self.queue:
            self.queue.remove(run)
            return True
        return False

    def close(self, run: Run) -> None:
        if run.routine.function.kind == "coroutine":
            if self._loop is not None:
                self._loop.close(run)
        elif not run.scheduled:
            run.routine.close()

    def run_next(self) -> None:
        """Step the run that has waited longest."""
        run = self.queue.popleft()
        routine = run.routine
        if routine.function.kind == "coroutine":
            if not routine.dropped:
                self._step_coroutine(run)
            return
        if not routine.dropped:
            self._stepped(StepReport(run, self._step(routine)))
        if routine.dropped:
            routine.close()

    def stop(self) -> None:
        """End the loop, if there is one. The lock must be free."""
        if self._loop is not None:
            self._loop.stop()

    def _step(self, routine: Routine) -> StepResult:
        thread = threading.get_ident()
        self._inside.append(thread)
        self._lock.release()
        try:
            return routine.step(self._now_ms())
        finally:
            self._lock.acquire()
            self._inside.remove(thread)
            self._lock.notify_all()

    def _hand_out(self, run: Run, output: StepResult) -> None:
        with self._lock:
            self._stepped(StepReport(run, output, False))

    # Coroutines ----------------------------------------------------------------------------------

    def _step_coroutine(self, run: Run) -> None:
        if self._loop is None:
            from understudy_actors.executor.async_loop import AsyncLoop  # loads trio

            self._loop = AsyncLoop(self._results, self._loop_now_ms)
        self._inside.append(self._loop_thread)
        self._loop.submit(run)
        try:
            self._wait_for(run)
        finally:
            self._inside.remove(self._loop_thread)

    def _wait_for(self, run: Run) -> None:
        ends_at = time.monotonic() + PATIENCE_S
        while not self._has_ended(run):
            if self._go_on():
                continue
            if not self._lock.wait(max(0.0, ends_at - time.monotonic())):
                raise TimeoutError(
                    f"{run.routine.function.name} {run.routine.id} has awaited something other "
                    f"than ctx for {PATIENCE_S:g} s. On a stage only ctx.sleep and deadlines are "
                    "skipped: pause with ctx.sleep, and give the test a stand-in for what it calls"
                )

    def _has_ended(self, run: Run) -> bool:
        """Pass on what has come back."""
        for report in self._results.take():
            if report.final:
                self._ended.add(report.run)
            self._stepped(report)
        if run in self._ended:
            self._ended.remove(run)
            return True
        return run.routine.dropped

    def _loop_now_ms(self) -> int:
        """The loop asks before each step, on its own thread: so that one becomes known."""
        if self._loop_thread == _UNKNOWN:
            self._loop_thread = threading.get_ident()
            self._loops.add(self._loop_thread)
            self._inside[self._inside.index(_UNKNOWN)] = self._loop_thread
        return self._now_ms()

    def _wake(self, _: bool) -> None:
        """On the loop's thread."""
        with self._lock:
            self._lock.notify_all()
