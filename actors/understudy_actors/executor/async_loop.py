"""The event loop for ``async def`` functions, trio or asyncio, on a thread of its own.

Each run is a task of the loop; see `understudy_actors.executor.coroutine_run`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Final

from understudy_actors import lent_slots
from understudy_actors.activation import Run
from understudy_actors.executor.coroutine_run import CoroutineRun, TaskNode
from understudy_actors.executor.event_loops import EventLoop, make_loop
from understudy_actors.executor.forked import tell_copies_of
from understudy_actors.executor.results import Results
from understudy_actors.executor.stall_watch import current_line
from understudy_actors.interpreter.ports import LoopName
from understudy_actors.interpreter.requests import Request, answer_with, awaited_elsewhere
from understudy_actors.interpreter.strands import Strand

#: Seconds for which a task that the history does not know may not call while recorded tasks have
#: not begun. The function starts them within moments, unless it waits for something else before.
HOLD_S: Final = 10.0


class AsyncLoop:
    """One thread with one event loop, started with the first coroutine.

    Parameters
    ----------
    results
        Gets the report of each step.
    now_ms
        The clock, epoch milliseconds.
    on_submit
        Called at each `submit`, on its thread: from then on `blocked` has something to watch.
    name
        The library of the loop.
    on_news
        Called instead of `take_news` when something has settled in the middle of a step.
    hold_turns
        Turns of the loop for which a doubtful call is held back (`CoroutineRun`); None: `HOLD_S`.
    lends
        Whether a run uses no credit while it waits for a handle. A simulation, which knows nothing
        of handles, would otherwise think that it waits for a promise.
    """

    def __init__(
        self,
        results: Results,
        now_ms: Callable[[], int],
        on_submit: Callable[[], None] | None = None,
        *,
        name: LoopName = "trio",
        on_news: Callable[[Run], None] | None = None,
        hold_turns: int | None = None,
        lends: bool = True,
    ) -> None:
        self.results = results
        self.now_ms = now_ms
        self.on_news = on_news or self.take_news
        self.events: EventLoop = make_loop(name, self)
        self.stopping = False
        self._name = name
        self._hold_turns = hold_turns
        self._lends = lends
        self._on_submit = on_submit
        self._thread: threading.Thread | None = None
        self._started = threading.Event()
        #: the loop has run since the last `blocked` that asked it to
        self._is_responsive = True
        #: when `blocked` asked it to
        self._asked_at = 0.0
        #: the current blockage was reported by `blocked`
        self._reported = False
        # Touched on the loop's thread only.
        self._runs: dict[Run, CoroutineRun] = {}
        self._tasks: dict[object, TaskNode] = {}
        tell_copies_of(self)

    @property
    def remedy(self) -> str:
        """The function of the library that runs blocking code on a thread."""
        return self.events.in_thread

    def submit(self, run: Run) -> None:
        """Begin a run, or step it again, because something that it waits for has settled."""
        if self._on_submit is not None:
            self._on_submit()
        self._run_soon(self._begin_or_wake, run)

    def take_news(self, run: Run) -> None:
        """Let an open step go on with what has settled meanwhile."""
        self._run_soon(self._take_news, run)

    def call_after(self, turns: int, function: Callable[[], None]) -> None:
        """Call `function` on the loop's thread after so many turns of the loop."""
        if turns:
            self._run_soon(self.call_after, turns - 1, function)
        else:
            function()

    def call_after_hold(self, function: Callable[[], None]) -> None:
        """Call `function`, on the loop's thread, when nothing is to be held back any longer."""
        if self._hold_turns is None:
            self.events.call_later(HOLD_S, function)
        else:
            self.call_after(self._hold_turns, function)

    def close(self, run: Run) -> None:
        """Cancel a dropped run, so that it unwinds and is closed."""
        if self._thread is not None:
            self._run_soon(self._cancel, run)

    def stop(self) -> None:
        """End the loop. Functions under way are canceled and report nothing."""
        self.stopping = True
        if self._thread is not None:
            self._run_soon(self.events.stop)
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
        thread = self._thread
        if thread is None or self.stopping:
            return None
        if not self._is_responsive:
            reported, self._reported = self._reported, True
            return None if reported else current_line(thread) or "a place unknown"
        self._is_responsive = self._reported = False
        self._asked_at = time.monotonic()
        self._run_soon(self._mark_responsive)
        return None

    def blocked_s(self) -> float:
        """Return for how long the loop has not answered `blocked`; 0: it has. Any thread asks."""
        is_waited_for = self._thread is not None and not self.stopping and not self._is_responsive
        return time.monotonic() - self._asked_at if is_waited_for else 0.0

    def _run_soon(self, function: Callable[..., None], *args: Any) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._main, name=f"understudy-{self._name}", daemon=True
            )
            self._thread.start()
            self._started.wait()
        self.events.run_soon(function, *args)

    def forked(self) -> None:
        """End a process that was just forked on this loop's thread, once the step is over."""
        if threading.current_thread() is self._thread:
            self.events.end_after_step()

    # On the loop's thread ------------------------------------------------------------------------

    def _main(self) -> None:
        self.events.run(self._started.set)

    def _mark_responsive(self) -> None:
        self._is_responsive = True

    def _begin_or_wake(self, run: Run) -> None:
        running = self._runs.get(run)
        if running is not None:
            running.wake()
            return
        running = self._runs[run] = CoroutineRun(self, run)
        variables = run.routine.variables.copy()
        variables.run(answer_with, self)
        if self._lends:
            variables.run(lent_slots.join_run, running.slot)
        running.cancel_own = self.events.start(variables, lambda: self._drive(run, running))

    async def _drive(self, run: Run, running: CoroutineRun) -> None:
        task = self.events.current_task()
        self._tasks[task] = running.own
        try:
            await running.drive()
        finally:
            del self._runs[run], self._tasks[task]

    def _take_news(self, run: Run) -> None:
        running = self._runs.get(run)
        if running is not None:
            running.take_news()

    def _cancel(self, run: Run) -> None:
        running = self._runs.get(run)
        if running is not None:
            running.cancel_own()

    # Tasks that functions start ------------------------------------------------------------------

    def task_started(self, creator: object, task: object, name: Callable[[], str]) -> None:
        """Take in a task that a function, or a task of its, has started."""
        node = self._tasks.get(creator)
        if node is not None:
            self._tasks[task] = node.run.task_started(node, task, name())

    def task_ended(self, task: object) -> None:
        """Forget a task."""
        node = self._tasks.get(task)
        if node is not None and not node.is_own:
            del self._tasks[task]
            node.run.task_ended(task)

    def strand_of_caller(self, run: CoroutineRun) -> Strand | None:
        """Return the strand of the current task, if it belongs to `run`."""
        node = self._tasks.get(self.events.current_task())
        return node.strand if node is not None and node.run is run else None

    def steps_of(self, request: Request[Any]) -> Generator[Any, Any, Any] | None:
        """Return what answers a request that the current task awaits.

        None if it is the task of a function itself, which yields the request to the interpreter.
        """
        node = self._tasks.get(self.events.current_task())
        if node is None:
            raise awaited_elsewhere(request)
        return None if node.is_own else node.run.steps_of(request)
