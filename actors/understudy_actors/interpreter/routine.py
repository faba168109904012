"""The interpreter: runs one durable function against the results that are known.

How it works
------------
A routine is the interpreter's instance for one run of a function: the body of a task, or a local
call inside one. The function makes requests (``ctx.rpc(...)``) and yields them. The routine answers
each: if the result is known, the function goes on at once; otherwise the routine notes what it
waits for, and the step ends. A step therefore runs the function until it must wait or ends, and
returns commands for the store and local calls to start (`StepResult`). The node feeds settled
promises in (`learn`) and steps the routine again.

A routine touches no clock, socket or thread. Everything it does follows from its function, its
arguments, and the promises it was told of. This makes recovery one and the same thing as running:

* Ids are deterministic. The n-th call of the run ``x`` has the id ``x.n``, whichever process runs
  it. An id of the user's own (``.options(id=...)``) takes its place, and still uses up a number.
* A call whose promise is in the history is not made again, and a wait for a settled promise ends at
  once. Replay is running the function again with more results known; there is no other mode.
* Time and random numbers come from ``ctx`` and depend on the id and the history alone.

A replayed function must therefore make the same calls in the same order. Each call is compared with
the one that is recorded in its place (`determinism`) before anything comes of it: its id, its kind,
its function's name and, if asked for, its version. A mismatch says that the code has changed, which
is no result of the call: the step asks for nothing but that the task be parked
(`StepResult.mismatch`). The error is not thrown into the function, because the function could catch
it and go on. A function that ends without having made all recorded calls has changed too.

Calls that are made and not yielded are sent with the next yield, or when the function returns. A
function that has returned does not settle before the calls that it started have settled, except
detached ones, and not before the store has answered all of them: a call that it refuses, and that
the function did not wait for, is the function's failure.

A step that makes very many calls hands out its commands in parts (`flush`). If the broker has not
answered more than `UNANSWERED_MAX` of them, the routine pauses until it has: the answer to the last
yield is kept in a `Wait` that needs nothing.

Each run has a copy of the context variables for itself, and keeps it over its waits, whichever
thread steps it. So what a function puts into a `contextvars.ContextVar` (and with it the precision
of ``decimal``, what structlog has bound, the current span of OpenTelemetry) is seen by this run
alone. A task begins with an empty context, the same on every node. A local call, and each attempt
of it, begins with a copy of its caller's as of the call. A replay runs the same code again, so it
sets the same variables again. A generator or a plain function is entered with `Context.run`; a
coroutine is a task of a loop, which is started with these variables and enters them itself.

Whatever the user's code raises is the failure of its call, also where it runs on our behalf: the
``__reduce__`` of a result, the ``__str__`` of an error, a retry policy. Nothing escapes a step,
because it would end the thread, and with it every other call of the node.

One thread at a time steps a routine. Two methods may be called from another thread meanwhile:
`learn`, which appends to a deque that only steps empty, and `answered`, which adds to a counter
that nobody else writes.

What is not perfect
-------------------
* Arguments are not compared: a replay that passes other arguments to a recorded call gets the
  recorded result. Comparing them would forbid arguments that encode differently each time.
* Only calls are compared. Code between the yields runs again in each replay, and side effects there
  happen again. They belong in a step of their own (``ctx.run``).
* A history grows with the number of calls, and each replay walks through all of it. A function that
  calls without end has to hand over to a new call now and then.
* A plain function runs in one step, and its thread is held for as long as it blocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import Context as Variables
from typing import Any, Final

from understudy_actors.errors import NonDeterminismError, UnreadableError
from understudy_actors.interpreter.bodies import BODIES, body_of
from understudy_actors.interpreter.child_calls import ChildCalls
from understudy_actors.interpreter.child_commands import CallFrame
from understudy_actors.interpreter.empty import NO_LIST
from understudy_actors.interpreter.environment import Environment
from understudy_actors.interpreter.error_notes import explain
from understudy_actors.interpreter.outcome import Outcome, failure, retry_delay_s, success
from understudy_actors.interpreter.ports import FunctionLike, Kind, RetryPolicy
from understudy_actors.interpreter.replay import ReplayState
from understudy_actors.interpreter.requests import Request, Subroutine
from understudy_actors.interpreter.signals import Signals
from understudy_actors.interpreter.stack import Stack, close, set_aside
from understudy_actors.interpreter.step_result import LocalStart, StepResult
from understudy_actors.interpreter.strands import Strand
from understudy_actors.interpreter.task_waits import TaskWaits
from understudy_actors.interpreter.tracing import RunTrace
from understudy_actors.interpreter.wait import GO_ON, Wait, endless, kept
from understudy_actors.interpreter.yields import answer
from understudy_store.records import PromiseRecord

#: Creates that may be unanswered before the function is paused, and the number at which it goes on.
#: It is enough for a few turns of the broker. With more, calls are made long before a node has room
#: for them: they wait in memory, and reach SQLite's file once before they run and once afterwards.
UNANSWERED_MAX: Final = 2048
UNANSWERED_LOW: Final = UNANSWERED_MAX // 2
#: commands after which a long step hands out what it has
FLUSH_COMMANDS: Final = 256

#: takes the part of a step's result that there is in the middle of the step
Flush = Callable[[StepResult], None]


class Routine:
    """The interpreter's instance for one run of a durable function.

    Parameters
    ----------
    record
        The promise that the run settles.
    origin, branch
        Ids of the root of the call graph, and of the task that the run belongs to.
    args, kwargs
        Arguments of a local call as they are; those of a task come encoded, in `data`.
    attempt
        From 1; one more with every failure that was retried.
    history
        Promises that earlier runs of the same call have made.
    retry
        Policy of this call; by default the function's, then the node's.
    flush
        Takes partial results of long steps.
    time_ms
        The time at which ``ctx.time`` begins, if `record` is not yet what the store will hold.
    variables
        The context variables to begin with a copy of; None: none are set.
    trace
        Told of what happens to the run; None: nothing is traced.
    """

    __slots__ = (
        "_answered", "_args", "_data", "_inherited", "_kwargs", "_retry", "_started", "attempt",
        "calls", "canceled", "dropped", "ended", "env", "flush", "function", "id", "inbox",
        "is_over", "kind", "on_news", "record", "replay", "sent", "signals", "stack", "task_waits",
        "trace", "variables", "wait",
    )  # fmt: skip

    def __init__(
        self,
        env: Environment,
        function: FunctionLike,
        record: PromiseRecord,
        *,
        origin: str,
        branch: str,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        data: bytes | None = None,
        attempt: int = 1,
        history: list[PromiseRecord] | None = None,
        retry: RetryPolicy | None = None,
        flush: Flush | None = None,
        time_ms: int | None = None,
        variables: Variables | None = None,
        trace: RunTrace | None = None,
    ) -> None:
        self.env, self.function = env, function
        #: the function's, until a plain one returns a generator or a coroutine
        self.kind: Kind = function.kind
        self.record = record
        self.id = record.id
        self.attempt = attempt
        frame = CallFrame(record.id, origin, branch, record.timeout_at, env.timeout_ms)
        self.replay = ReplayState(env.values, Strand(record.id, time_ms or record.created_at))
        if history:
            self.replay.load(history)
        self.calls = ChildCalls(function, frame, self.replay, env.warn)
        self.trace = self.calls.trace = trace
        self.flush = flush
        #: it has been let go: its results count no more, and the thread that steps it closes it
        self.dropped = self.canceled = False
        #: the call has settled, though the function has not ended; set before it is let go
        self.is_over = False
        self.signals: Signals | None = None
        #: the context variables of this run
        around = variables if trace is None else trace.enter(variables, self.replay)
        self.variables = Variables() if around is None else around.copy()
        #: settled promises that no step has seen
        self.inbox: deque[PromiseRecord] = NO_LIST
        #: Told, on the thread that brings them, of news in the middle of a step.
        self.on_news: Callable[[], None] | None = None
        #: what tasks wait for that the function has started
        self.task_waits: TaskWaits | None = None
        #: the condition under which the function goes on; None while it runs and after its end
        self.wait: Wait | None = None
        #: how the function ended, if it waits for the calls that it started
        self.ended: Outcome | None = None
        self._args, self._kwargs, self._data = args, kwargs, data
        self._retry = retry
        self._started, self._inherited = False, variables
        #: the function's own generator, and subroutines on top of it
        self.stack: Stack = NO_LIST
        #: commands that were asked for, and answered; two counters because two threads count
        self.sent = self._answered = 0

    # The node's side -----------------------------------------------------------------------------

    def hand_out_to(self, flush: Flush, clock: Callable[[], int]) -> None:
        """Let long steps hand out partial results, and see the time while they go on.

        Parameters
        ----------
        clock
            Returns epoch milliseconds.
        """
        self.flush, self.calls.clock = flush, clock

    def learn(self, record: PromiseRecord) -> None:
        """Note that a promise settled; it counts from the next step."""
        if self.inbox is NO_LIST:
            self.inbox = deque()
        self.inbox.append(record)
        if self.on_news is not None:
            self.on_news()

    def answered(self, count: int) -> None:
        """Note that the broker has answered so many more of this run's commands."""
        self._answered += count
        if self.on_news is not None:
            self.on_news()

    @property
    def paused(self) -> bool:
        """True if it has asked for so much that it waits for the broker to catch up."""
        return self.wait is not None and self.wait.ready and self._behind

    @property
    def runnable(self) -> bool:
        """True if a step would get it further, although nothing new has settled."""
        return self.wait is not None and self.wait.ready and not self._behind

    @property
    def alive(self) -> bool:
        """True if the function has begun and has not ended."""
        return bool(self.stack)

    @property
    def is_overdrawn(self) -> bool:
        """True if it has asked for so much that none of its tasks should ask for more."""
        return self.sent - self._answered > UNANSWERED_MAX

    @property
    def _behind(self) -> bool:
        """True while it waits for the broker; a run that has ended waits for every answer."""
        return self.sent - self._answered > (UNANSWERED_LOW if self.ended is None else 0)

    # Stepping ------------------------------------------------------------------------------------

    def step(self, now_ms: int) -> StepResult:
        """Run the function until it must wait, ends, or (a coroutine) yields to its loop.

        Parameters
        ----------
        now_ms
            Epoch milliseconds, from which the deadlines of calls are counted.
        """
        calls = self.calls
        calls.now_ms = now_ms
        calls.result = StepResult()
        if self.inbox:
            self.absorb()
        wait = self.wait
        if wait is not None:
            if wait.ready and not self._behind:
                self._enter(self._finish, wait)
        elif not self._started:
            self._started = True
            if self.trace is not None:
                self.trace.started()
            self._enter(self._start)
        return self._take()

    def answer_trap(self, value: Any = None, error: BaseException | None = None) -> StepResult:
        """Go on with a coroutine whose event loop has answered its trap (see `StepResult.trap`).

        The loop may also raise `error` at a request that the coroutine waits for.
        """
        self.wait = None
        self.calls.result = StepResult()
        self.absorb()
        self._run(value, error)
        return self._take()

    def absorb(self) -> None:
        """Take in what has settled, and count it for the waits under way."""
        if self.inbox:
            self.replay.absorb(self.inbox, self.wait, self.task_waits)

    def close(self) -> None:
        """Let go of the function; its clean-up code runs only if the call is over."""
        self.dropped = True
        self.flush = None
        if not self.is_over:
            set_aside(self.stack)
        elif self.stack:
            self._enter(close, self.stack)

    def _enter(self, function: Callable[..., None], *args: Any) -> None:
        """Call a function that runs the user's code, with the context variables of this run."""
        if self.kind == "coroutine":
            function(*args)
        else:
            self.variables.run(function, *args)

    def _take(self) -> StepResult:
        result = self.calls.result
        del self.calls.result
        self.sent += len(result.commands)
        if self.trace is not None:
            self.trace.stepped(result)
        return result

    def _start(self) -> None:
        function, args, kwargs = self.function, self._args, self._kwargs
        if kwargs is None:
            try:
                args, kwargs = self.env.values.decode_call(function, self._data)
            except BaseException as error:
                if isinstance(error, UnreadableError):
                    _park(self, self.stack, error)
                else:
                    self._end(failure(self.env.values, error, self.attempt))
                return
        try:
            result = function.fn(self.env.make_context(self), *args, **kwargs)
            if self.kind != "plain" or result.__class__ in BODIES:
                self.kind, result = body_of(function, result)
        except BaseException as error:
            self._raised(error)
            return
        if self.kind == "plain":
            self._returned(result)
            return
        self.stack = [result]
        if self.kind == "coroutine" and function.kind == "plain":
            self.wait = GO_ON
        else:
            self._run(None, None)

    def _finish(self, wait: Wait) -> None:
        """Go on after a wait that is over."""
        self.wait = None
        if self.ended is not None:
            self._settle(self.ended)
            return
        error: BaseException | None = None
        try:
            value = wait.finish()
        except BaseException as raised:
            if raised is self.replay.mismatch:
                _park(self, self.stack, raised)
                return
            value, error = None, raised
        if isinstance(value, Wait):
            self.wait = value
        else:
            self._run(value, error)

    def _run(self, value: Any, error: BaseException | None) -> None:
        """Send or throw into the function, and answer what it yields, until something must wait."""
        stack, calls = self.stack, self.calls
        coroutine = self.kind == "coroutine"
        while stack:
            try:
                asked = stack[-1].send(value) if error is None else stack[-1].throw(error)
            except StopIteration as stop:
                stack.pop()
                value, error = stop.value, None
                continue
            except BaseException as raised:
                stack.pop()
                value, error = None, raised
                continue
            if coroutine and not isinstance(asked, Request):
                calls.result.trap = asked
                return
            try:
                if calls.deferred:
                    calls.make_deferred(asked, self.replay.find_strand is None)
                if asked.__class__ is Subroutine:
                    stack.append(asked.start())
                    value, error = None, None
                    continue
                value, error = answer(calls, asked), None
            except BaseException as raised:
                if raised is self.replay.mismatch:
                    _park(self, stack, raised)
                    return
                value, error = None, raised
            if isinstance(value, Wait):
                self.wait = value
                return
            if len(calls.result.commands) >= FLUSH_COMMANDS and not self._hand_out():
                # The answer is kept until the broker has caught up.
                self.wait = Wait((), 0, kept(value, error))
                return
        if error is not None:
            self._raised(error)
        else:
            self._returned(value)

    def _hand_out(self) -> bool:
        """Pass on the commands so far; False: too many are unanswered, so the run must pause."""
        if self.flush is not None:
            self.flush(self._take())
            self.calls.result = StepResult()
        return self.sent - self._answered <= UNANSWERED_MAX

    # Ending --------------------------------------------------------------------------------------

    def _returned(self, result: Any) -> None:
        """End with a value. A call that is returned is not made: it may call this function."""
        values = self.env.values
        try:
            if self.calls.deferred and not isinstance(result, Request):
                self.calls.make_deferred(None)
            outcome = success(values, self.function, result, self.attempt)
        except BaseException as error:
            outcome = failure(values, error, self.attempt)
        self._end(outcome)

    def _raised(self, error: BaseException) -> None:
        function, values = self.function, self.env.values
        policy = self._retry or function.retry or values.default_retry
        hopeless = explain(error, self.kind, function.loop, self.env.functions.names)
        retried = not hopeless and not self.replay.has_called and self.kind != "generator"
        delay_s = retry_delay_s(policy, self.attempt, error) if retried else None
        if delay_s is None:
            self._end(failure(values, error, self.attempt))
        else:
            self.calls.result.retry_after_s, self.calls.result.retry_error = delay_s, error
            self.calls.result.attempts_max = getattr(policy, "max_attempts", None)

    def _end(self, outcome: Outcome) -> None:
        """Settle, but not before all that the run has started, and all that it has asked for.

        An answer may be a refusal, of which somebody has to hear.
        """
        replay = self.replay
        mismatch = replay.mismatch_at_end(self.function.fn, outcome.error)
        if mismatch is not None:
            self.calls.result = StepResult(mismatch=mismatch)  # nothing that it has asked for
            return
        if replay.attached or self.sent + len(self.calls.result.commands) > self._answered:
            self.ended = outcome
            self.wait = Wait(replay.attached, len(replay.attached), kept(None, None))
        else:
            self._settle(outcome)

    def _settle(self, outcome: Outcome) -> None:
        """Settle, or fail because of a refused call for which nobody waited."""
        refused = self.replay.refused
        if refused and outcome.error is None:
            outcome = failure(self.env.values, next(iter(refused.values())), self.attempt)
        self.calls.result.done = outcome

    def next_attempt(self) -> Routine:
        """Return a routine that runs the same local call once more."""
        frame, trace = self.calls.frame, self.trace and self.trace.next_attempt()
        return Routine(
            self.env, self.function, self.record, origin=frame.origin, branch=frame.branch,
            args=self._args, kwargs=self._kwargs, attempt=self.attempt + 1, retry=self._retry,
            time_ms=self.replay.own.time_ms, variables=self._inherited, trace=trace,
        )  # fmt: skip


def _park(routine: Routine, stack: Stack, mismatch: NonDeterminismError | UnreadableError) -> None:
    """Ask for nothing but that the task of `routine` be parked.

    The mismatch is not thrown into the function, which could catch it and go on. What a coroutine
    has opened is unwound by its loop, when the run is dropped.
    """
    routine.replay.mismatch = mismatch
    if routine.kind != "coroutine":
        set_aside(stack)
    routine.calls.result = StepResult(mismatch=mismatch)
    routine.wait = endless()


def local_routine(
    caller: Routine, start: LocalStart, history: list[PromiseRecord] | None = None
) -> Routine:
    """Return the routine of a call that `caller` makes inside its activation."""
    spec, frame = start.spec, caller.calls.frame
    trace = None if caller.trace is None else caller.trace.step(start.function.name, spec.id)
    return Routine(
        caller.env,
        start.function,
        start.record,
        origin=frame.origin,
        branch=frame.branch,
        args=spec.args,
        kwargs=spec.kwargs,
        history=history,
        retry=caller.env.values.retry_policy(spec.retry),
        time_ms=start.time_ms,
        variables=spec.variables,
        trace=trace,
    )
