"""One run of an ``async def`` function on an event loop, with the tasks that it has started.

The function itself runs in a task of the loop. The interpreter answers what it awaits of ``ctx``;
everything else that it awaits (a primitive of the loop, an HTTP library) is passed on to the loop
as a *trap*, within the same task, so that cancel scopes and groups of tasks work as usual.

A task that the function starts awaits requests too. Nobody steps it, because it belongs to the
loop. So a request that it awaits is answered right there (`CoroutineRun.steps_of`): the call is
made, and the task waits for an event of the loop until its result is known.

A step of a function without tasks ends when the function waits for ``ctx``. While there are tasks,
or a time limit of the loop may interrupt the wait, the step stays open, and what is asked for is
reported as parts of it. The node is told whether something in the run waits for a promise
(`StepReport.waits`), so that it uses no credit meanwhile. The lease is kept, because the function
may also go on for other reasons, such as that limit.

What is not perfect: a run uses no credit while any of its tasks waits for a promise, although
others may work meanwhile. The other way round would be worse: the call that is waited for may need
the credit on this very node.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Protocol

from understudy_actors.activation import Run, StepReport
from understudy_actors.errors import RequestError
from understudy_actors.executor.doubtful_calls import DoubtfulCalls
from understudy_actors.executor.event_loops import Event, EventLoop
from understudy_actors.executor.forked import end_of_step
from understudy_actors.executor.results import Results
from understudy_actors.interpreter.requests import Request, Subroutine
from understudy_actors.interpreter.routine import Routine
from understudy_actors.interpreter.step_result import NO_TRAP, StepResult
from understudy_actors.interpreter.strands import Strand
from understudy_actors.interpreter.task_waits import TaskWaits
from understudy_actors.interpreter.wait import Wait, endless


@types.coroutine
def _forward(trap: Any) -> Generator[Any, Any, Any]:
    """Yield to the loop the trap that the function has yielded; return the loop's answer."""
    return (yield trap)


class Home(Protocol):
    """The loop that runs belong to, as they see it."""

    @property
    def events(self) -> EventLoop: ...
    @property
    def results(self) -> Results: ...
    @property
    def stopping(self) -> bool: ...
    def now_ms(self) -> int: ...
    @property
    def on_news(self) -> Callable[[Run], None]:
        """Has `CoroutineRun.take_news` called on the loop's thread; is called on any thread."""

    def call_after_hold(self, function: Callable[[], None]) -> None:
        """Call `function`, on the loop's thread, when nothing is to be held back any longer."""

    def strand_of_caller(self, run: CoroutineRun) -> Strand | None:
        """Return the strand of the current task, if it belongs to `run`."""


class TaskNode:
    """A task of a run: the function's own, or one that it or such a task has started."""

    __slots__ = ("is_own", "run", "strand")

    def __init__(self, run: CoroutineRun, strand: Strand, *, is_own: bool = False) -> None:
        self.run = run
        self.strand = strand
        self.is_own = is_own


class RunSlot:
    """The slot that a run lends while something in it waits for a handle (a `Lender`).

    Its methods may be called on any thread, because what the run has started on threads waits too.

    Parameters
    ----------
    routine
        Of the run, for code that asks where it runs.
    events
        The loop of the run.
    count_waiting
        Told on the loop's thread how many more wait.
    """

    __slots__ = ("_count_waiting", "_events", "routine")

    def __init__(
        self, routine: Routine, events: EventLoop, count_waiting: Callable[[int], None]
    ) -> None:
        self.routine = routine
        self._events = events
        self._count_waiting = count_waiting

    def lend(self) -> bool:
        """Note that something in the run waits for a call, which may need this run's credit."""
        self._events.run_soon(self._count_waiting, 1)
        return True

    def take_back(self) -> None:
        """Note that it waits no longer."""
        self._events.run_soon(self._count_waiting, -1)


class CoroutineRun:
    """A run on its event loop. All methods are called on the loop's thread."""

    def __init__(self, home: Home, run: Run) -> None:
        self._home = home
        self._run = run
        self._routine = run.routine
        #: the function's own task
        self.own = TaskNode(self, run.routine.replay.own, is_own=True)
        #: the tasks that were started, and have not ended
        self._tasks: dict[object, TaskNode] = {}
        #: number of tasks, the function's own included, and threads that wait for promises
        self._waiting = 0
        #: what tasks have asked for since the last report
        self._asked: StepResult | None = None
        #: Set when the function may go on at its request.
        self._wake: Event = home.events.event()
        #: the requests of tasks
        self._waits: TaskWaits
        #: calls of tasks that may be recorded ones with another name
        self._doubtful: DoubtfulCalls
        #: tasks that wait until the broker has answered more of what the run has asked for
        self._held_back: dict[Event, None] = {}
        self._report_is_due = False
        self._said_that_it_waits = False
        #: the step has ended, and the node has not asked for another one
        self._is_closed = False
        self._news_is_due = False
        #: the function waits at a request, in an open step
        self._own_waits = False
        #: a time limit of the loop may interrupt the wait of the function
        self._is_limited = False
        self.slot = RunSlot(run.routine, home.events, self._count_waiting)
        #: cancels the function's own task
        self.cancel_own: Callable[[], None]

    # The function itself -------------------------------------------------------------------------

    async def drive(self) -> None:
        """Step the function until it ends, or is let go."""
        routine = self._routine
        if routine.flush is None:
            routine.hand_out_to(self._report_part, self._home.now_ms)
        try:
            await self._step_until_done()
        finally:
            if routine.dropped:
                routine.close()

    async def _step_until_done(self) -> None:
        routine = self._routine
        if self._is_over():
            return
        result = routine.step(self._home.now_ms())
        while True:
            if self._home.results.is_copy:
                end_of_step(routine, result)
            if result.trap is not NO_TRAP:
                result = await self._answer_trap(result)
                continue
            # Made before the report, because the node may answer the report at once.
            wake = self._wake = self._home.events.event()
            if not routine.alive:
                # Also after a drop, which ends the function by a cancellation.
                self._home.events.cancel(self._tasks)
                if self._is_over():
                    return
            self._is_limited = self._home.events.has_deadline()
            goes_on = routine.alive and result.mismatch is None
            if goes_on and (self._tasks or self._is_limited):
                self._hear_news()
                if routine.runnable:
                    wake.set()
                self._own_waits = True
                self._waiting += 1
                self._report_part(result)
            else:
                self._report_end(result)
            if result.done is not None or result.retry_after_s is not None:
                return
            result = await self._next_step(wake)

    async def _next_step(self, wake: Event) -> StepResult:
        """Wait at a request until the function may go on, and step it.

        A cancellation, by a scope of the function itself or because the run was dropped, is raised
        inside the function at its request, so that its groups and scopes unwind in order.
        """
        if self._is_over():
            # asyncio cancels once, and this is one await more.
            self.cancel_own()
        try:
            await wake.wait()
        except GeneratorExit:
            raise
        except BaseException as canceled:
            if not self._routine.alive:
                raise
            return self._routine.answer_trap(error=canceled)
        finally:
            self._is_closed = False
            if self._own_waits:
                self._wait_no_longer()
                self._report_soon()
        return self._routine.step(self._home.now_ms())

    def _wait_no_longer(self) -> None:
        self._own_waits = False
        self._waiting -= 1

    async def _answer_trap(self, result: StepResult) -> StepResult:
        trap, result.trap = result.trap, NO_TRAP
        # The trap may take long, so the calls made before it are sent now.
        self._report_part(result)
        try:
            value = await _forward(trap)
        except GeneratorExit:
            raise
        except BaseException as error:
            # The loop raises it at this await, so it belongs to the function.
            return self._routine.answer_trap(error=error)
        return self._routine.answer_trap(value)

    def _is_over(self) -> bool:
        return self._routine.dropped or self._home.stopping

    def wake(self) -> None:
        """Make a step, because the node asks for it."""
        if self._is_closed:
            self._wake.set()
        else:
            self.take_news()

    def _hear_news(self) -> None:
        """Take in what has settled, now and from now on, although no step begins."""
        if self._routine.on_news is None:
            self._routine.on_news = self._on_news
            # Nobody has told of what came before this.
            self._routine.absorb()

    def _on_news(self) -> None:
        """Have news taken in on the loop's thread; called on the thread that brings them."""
        if not self._news_is_due:
            self._news_is_due = True
            self._home.on_news(self._run)

    def take_news(self) -> None:
        """Take in what has settled while the step is open, and wake those who wait for it."""
        self._news_is_due = False
        if self._is_closed or self._is_over():
            return
        routine = self._routine
        routine.absorb()
        if routine.runnable:
            self._wake.set()
        if self._held_back and not routine.is_overdrawn:
            for event in self._held_back:
                event.set()

    # Tasks that the function has started ---------------------------------------------------------

    def task_started(self, creator: TaskNode, task: object, name: str) -> TaskNode:
        """Take in a task that `creator` has started."""
        routine = self._routine
        if routine.task_waits is None:
            self._doubtful = DoubtfulCalls(routine.replay, self._home)
            routine.task_waits = self._waits = TaskWaits(routine.calls, self._doubtful.check)
            routine.replay.find_strand = lambda: self._home.strand_of_caller(self)
            self._hear_news()
        node = self._tasks[task] = TaskNode(self, creator.strand.branch(name))
        self._doubtful.task_began(node.strand.id)
        return node

    def task_ended(self, task: object) -> None:
        """Forget a task."""
        del self._tasks[task]
        if not self._tasks and self._own_waits:
            self._report_soon()

    def steps_of(self, asked: Request[Any]) -> Generator[Any, Any, Any]:
        """Answer a request that a task awaits; yields to the loop while it is to wait."""
        if asked.__class__ is Subroutine:
            return (yield from self._subroutine(asked))
        routine = self._routine
        while routine.is_overdrawn and not self._is_over():
            yield from self._wait_for_room()
        yield from self._doubtful.hold(asked)
        if self._is_over() or not routine.alive:
            raise RequestError(
                f"{asked!r} was awaited by a task that {routine.function.name} has left behind: "
                "await the task before the function returns"
            )
        answer = self._ask(self._waits.ask, asked)
        while isinstance(answer, Wait):
            yield from self._wait_for(answer)
            answer = self._ask(self._waits.finish, answer)
        return answer

    def _subroutine(self, asked: Subroutine[Any]) -> Generator[Any, Any, Any]:
        """Answer the requests of a subroutine, one after the other; return its value."""
        steps = asked.start()
        take: Callable[[], Any] = partial(next, steps)
        while True:
            try:
                request = take()
            except StopIteration as stop:
                return stop.value
            try:
                take = partial(steps.send, (yield from self.steps_of(request)))
            except Exception as error:
                take = partial(steps.throw, error)

    def _ask(self, function: Callable[[Any, StepResult], Any], asked: Any) -> Any:
        """Call a method of the routine, and see to the report of what is to be done."""
        result = self._asked = self._asked or StepResult()
        sent = len(result.commands)
        try:
            return function(asked, result)
        except BaseException as error:
            mismatch = self._routine.replay.mismatch
            if error is not mismatch:
                raise
            # It is not thrown into the task, which could catch it and go on.
            self._asked = None
            self._report_end(StepResult(mismatch=mismatch))
            return endless()
        finally:
            self._routine.sent += len(result.commands) - sent
            self._report_soon()

    def _wait_for(self, wait: Wait) -> Generator[Any, Any, None]:
        event = self._home.events.event()
        self._waits.add(wait, event.set)
        self._waiting += 1
        try:
            yield from event.wait().__await__()
        finally:
            self._waits.discard(wait)
            self._count_waiting(-1)

    def _count_waiting(self, more: int) -> None:
        self._waiting += more
        self._report_soon()

    def _wait_for_room(self) -> Generator[Any, Any, None]:
        event = self._home.events.event()
        self._held_back[event] = None
        try:
            yield from event.wait().__await__()
        finally:
            del self._held_back[event]

    # Reports -------------------------------------------------------------------------------------

    def _report_soon(self) -> None:
        """Report once the tasks that can go on have done so, together."""
        if self._report_is_due:
            return
        self._report_is_due = True
        events = self._home.events
        if events.shuffles:
            # The next turn may call it before some of the tasks have gone on, the one after cannot.
            events.run_soon(events.run_soon, self._report)
        else:
            events.run_soon(self._report)

    def _report(self) -> None:
        self._report_is_due = False
        if self._is_over() or not self._routine.alive:
            return
        if self._own_waits and not self._tasks and not self._is_limited:
            # The last of its tasks has ended while it waits at a request: so the step ends.
            self._wait_no_longer()
            self._report_end(StepResult())
        else:
            self._report_part(StepResult())

    def _report_part(self, result: StepResult) -> None:
        """Report what was asked for, while the step goes on."""
        self._report_tasks()
        waits = self._waiting > 0
        if _asks(result) or waits != self._said_that_it_waits:
            self._said_that_it_waits = waits
            self._put(StepReport(self._run, result, False, waits=waits))

    def _report_end(self, result: StepResult) -> None:
        """Report the end of a step."""
        self._report_tasks()
        self._said_that_it_waits = False
        self._is_closed = True
        self._put(StepReport(self._run, result))

    def _report_tasks(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None and _asks(asked):
            if self._home.events.shuffles:
                # The same function asks for the same things in the same order each time.
                asked.commands.sort(key=lambda command: (len(command.id), command.id))
                asked.locals = sorted(asked.locals, key=lambda start: start.spec.id)
            self._put(StepReport(self._run, asked, False, waits=self._said_that_it_waits))

    def _put(self, report: StepReport) -> None:
        if not self._is_over():
            self._home.results.put(report)


def _asks(result: StepResult) -> bool:
    return bool(result.commands or result.locals or result.cancels)
