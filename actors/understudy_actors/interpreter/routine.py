"""The interpreter: drives one durable function against what is known.

A routine is one run of one function: the body of a task, or a local call inside one. It is pure: it
touches no clock, socket or thread. It is fed settled promises with `learn`, and `step` runs the
function until it must wait, giving back the commands to send and the local calls to start.

A replay is the same thing with more known: ids are deterministic, so a call whose promise is in the
history is not made again, and a wait for it ends at once. That is all there is to recovery.

One thread at a time steps a routine; `learn` may be called from another one meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final

from understudy_actors.errors import NonDeterminismError, RequestError
from understudy_actors.interpreter.child_commands import create_command, local_create, timer_command
from understudy_actors.interpreter.determinism import left_over
from understudy_actors.interpreter.environment import Environment
from understudy_actors.interpreter.error_notes import explain
from understudy_actors.interpreter.ports import FunctionLike, RetryPolicy
from understudy_actors.interpreter.replay import NO_LIST, ReplayState
from understudy_actors.interpreter.requests import Call, CallSpec, Promise, Request, Sleep
from understudy_actors.interpreter.step_result import (
    LocalStart,
    Outcome,
    StepResult,
    pending_record,
)
from understudy_actors.interpreter.wait import NOTHING, Wait
from understudy_actors.interpreter.yields import answer, answers
from understudy_store.records import HEADER_ATTEMPT, REJECTED, RESOLVED, PromiseRecord, Value

#: creates that may be unanswered before the function is paused, and when it goes on. Enough for a
#: few turns of the broker; with more, calls are made long before a node has room for them: they
#: wait in memory, and are written to SQLite's file once before they run and once more after
UNANSWERED_MAX: Final = 2048
UNANSWERED_LOW: Final = UNANSWERED_MAX // 2
#: commands after which a long step hands out what it has
FLUSH_COMMANDS: Final = 256

#: calls that make no sense unless the function waits for them
_WAITED: Final = frozenset(("rfc", "lfc", "sleep"))

#: takes a partial output in the middle of a step
Flush = Callable[[StepResult], None]


class Routine(ReplayState):
    """One run of a durable function."""

    __slots__ = (
        "_answered",
        "_data",
        "_ended",
        "_sent",
        "_started",
        "_unissued",
        "args",
        "attempt",
        "branch",
        "clock",
        "dropped",
        "flush",
        "function",
        "kwargs",
        "now_ms",
        "origin",
        "out",
        "retry",
        "stack",
    )

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
    ) -> None:
        super().__init__(env, record, history, time_ms)
        self.function = function
        self.origin = origin
        #: id of the task that this run belongs to
        self.branch = branch
        self.attempt = attempt
        self.retry = retry
        self.flush = flush
        self.now_ms = 0
        #: the time while a step goes on; without it the step's beginning counts
        self.clock: Callable[[], int] | None = None
        self.dropped = False
        #: a local call's arguments as they are; a task's come encoded, in `_data`
        self.args = args
        self.kwargs = kwargs
        self._data = data
        self._started = False
        #: the function's own generator, and subroutines on top of it
        self.stack: list[Generator[Any, Any, Any]] = NO_LIST
        self._unissued: list[CallSpec] = NO_LIST
        self._ended: Outcome | None = None
        #: what the step under way asks for
        self.out: StepResult
        self._sent = 0
        self._answered = 0

    # What the node tells -------------------------------------------------------------------------

    def answered(self, count: int) -> None:
        """The broker answered that many of this run's commands."""
        self._answered += count

    # What the context asks -----------------------------------------------------------------------

    def defer(self, spec: CallSpec) -> None:
        """Make the call even if nobody yields it."""
        if self._unissued is NO_LIST:
            self._unissued = []
        self._unissued.append(spec)

    # Stepping ------------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """It cannot go on before something settles."""
        return self.wait is not None and not self.wait.ready

    @property
    def paused(self) -> bool:
        """It has asked for so much that it waits for the broker to catch up."""
        return self.wait is not None and self.wait.ready and self._behind

    @property
    def runnable(self) -> bool:
        """A step would get it further, although nothing new has settled."""
        return self.wait is not None and self.wait.ready and not self._behind

    @property
    def alive(self) -> bool:
        """The function has begun and has not ended."""
        return bool(self.stack)

    @property
    def _behind(self) -> bool:
        # two counters, since two threads count
        return self._sent - self._answered > UNANSWERED_LOW

    def wake_on(self) -> list[str]:
        """Ids, awaitable from outside, of which one must settle for this run to go on."""
        wait = self.wait
        return [i for i in wait.wake_on() if i not in self.locals] if wait is not None else []

    def step(self, now_ms: int) -> StepResult:
        """Run the function until it must wait, ends, or (a coroutine) yields to its loop."""
        self.now_ms = now_ms
        self.out = StepResult()
        self.absorb()
        if self.wait is not None:
            if not self.wait.ready or self._behind:
                return self._take()
            self._finish_wait()
        elif not self._started:
            self._started = True
            self._start()
        return self._take()

    def resume_foreign(self, value: Any = None, error: BaseException | None = None) -> StepResult:
        """A coroutine's event loop answers what it yielded."""
        self.out = StepResult()
        self.absorb()
        if error is not None:
            self._run_throw(error)
        else:
            self._run_send(value)
        return self._take()

    def interrupt(self, error: BaseException) -> StepResult:
        """A coroutine's event loop raises `error` where the function waits for a request."""
        self.out = StepResult()
        self.absorb()
        self.wait = None
        self._run_throw(error)
        return self._take()

    def close(self) -> None:
        """Let go of the function; its clean-up code runs."""
        self.dropped = True
        self._close_stack()
        self.flush = None

    def _close_stack(self) -> None:
        stack, self.stack = self.stack, NO_LIST
        for generator in reversed(stack):
            try:
                generator.close()
            except BaseException:
                continue

    def _take(self) -> StepResult:
        out = self.out
        del self.out
        self._sent += len(out.commands)
        return out

    def _start(self) -> None:
        function = self.function
        args, kwargs = self.args, self.kwargs
        if kwargs is None:
            try:
                args, kwargs = self.env.values.decode_call(function, self._data)
            except Exception as error:
                self._end(self._failure(error))
                return
        try:
            result = function.fn(self.env.make_context(self), *args, **kwargs)
        except BaseException as error:
            self._raised(error)
            return
        if function.kind == "plain":
            self._returned(result)
        else:
            self.stack = [result]
            self._run_send(None)

    def _finish_wait(self) -> None:
        wait, self.wait = self.wait, None
        assert wait is not None
        try:
            value = wait.finish()
        except BaseException as error:
            self._run_throw(error)
            return
        if value is not NOTHING:
            self._run_send(value)

    def _run_send(self, value: Any) -> None:
        self._run(value, None)

    def _run_throw(self, error: BaseException) -> None:
        self._run(None, error)

    def _run(self, value: Any, error: BaseException | None) -> None:
        """Send or throw into the function, and answer what it yields, until something must wait."""
        stack = self.stack
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
            if not answers(asked) and self._is_foreign(asked):
                self.out.foreign = asked
                return
            try:
                if self._unissued:
                    self.issue_deferred(asked)
                value, error = answer(self, asked), None
            except BaseException as raised:
                if raised is self.mismatch:
                    # not thrown into the function: it could catch it and go on
                    self._close_stack()
                    self._end(self._failure(raised))
                    return
                value, error = None, raised
            if value is NOTHING:
                return
            if len(self.out.commands) >= FLUSH_COMMANDS and not self._hand_out():
                # the answer is kept until the broker has caught up
                self.wait = Wait((), 0, _later(value, error))
                return
        if error is not None:
            self._raised(error)
        else:
            self._returned(value)

    def _is_foreign(self, asked: Any) -> bool:
        return self.function.kind == "coroutine" and not isinstance(asked, Request)

    def _hand_out(self) -> bool:
        """Pass on what a long step has made; False: too much is unanswered, pause."""
        if self.flush is not None:
            self.flush(self._take())
            self.out = StepResult()
        return self._sent - self._answered <= UNANSWERED_MAX

    # Making calls --------------------------------------------------------------------------------

    def issue_deferred(self, asked: Any) -> None:
        """Make the calls that were made before `asked` was yielded, and not yielded themselves."""
        deferred = self._unissued
        if len(deferred) == 1 and asked.__class__ is Call and asked.spec is deferred[0]:
            # the common case: it is made by being yielded
            deferred.clear()
            return
        self._unissued = NO_LIST
        among = getattr(asked, "spec", None)
        # what ctx.all and ctx.race are given is made by them
        says = asked is None or isinstance(asked, (Promise, Call, Sleep))
        for spec in deferred:
            if spec.issued:
                continue
            if says and spec is not among and spec.kind in _WAITED and not self.replaying:
                self.env.warn(
                    f"{self.function.name}: ctx.{spec.label} at {spec.site} was not yielded, so "
                    "nothing waits for it: write `yield ctx...` (or await)"
                )
            if spec.kind != "sleep":
                self.issue(spec)

    def issue(self, spec: CallSpec, hint: Any = None) -> Promise[Any]:
        attached = spec.kind in ("rfi", "rfc", "lfi", "lfc")
        promise: Promise[Any] = Promise(spec.id, attached=attached, hint=hint)
        if spec.issued:
            return promise
        spec.issued = True
        record = self.match(spec)
        if self.clock is not None:
            self.now_ms = self.clock()
        if spec.kind in ("lfi", "lfc"):
            self._start_local(spec, record)
        elif record is None:
            self.out.commands.append(
                timer_command(self, spec) if spec.kind == "sleep" else create_command(self, spec)
            )
        if attached and (record is None or not record.settled):
            self.attach(spec.id)
        return promise

    def _start_local(self, spec: CallSpec, record: PromiseRecord | None) -> None:
        self.local(spec.id)
        if record is None:
            create = local_create(self, spec)
            self.out.commands.append(create)
            record = pending_record(create, self.now_ms)
        elif record.settled:
            return
        function = spec.function
        assert function is not None
        self.out.start(LocalStart(function, spec, record, self.time_ms))

    # Ending --------------------------------------------------------------------------------------

    def _returned(self, value: Any) -> None:
        what = f"the result of {self.function.name}"
        try:
            if self._unissued:
                self.issue_deferred(None)
            if isinstance(value, Request):
                raise RequestError(f"{what}: {value.not_yielded()}")
            data = self.env.values.encode_value(value, what)
        except Exception as error:
            self._end(self._failure(error))
            return
        self._end(Outcome(RESOLVED, Value(self._value_headers(), data)))

    def _raised(self, error: BaseException) -> None:
        hopeless = explain(error, self.function.kind)
        if self.calls == 0 and self.function.kind != "generator" and isinstance(error, Exception):
            policy = self.retry or self.function.retry or self.env.values.default_retry
            try:
                delay_s = None if hopeless else policy.delay_s(self.attempt, error)
            except Exception as broken:
                # a policy of the user's own; its trouble must not hide the function's
                error.add_note(f"and the retry policy {policy!r} raised {broken!r}")
                delay_s = None
            if delay_s is not None:
                self.out.retry_after_s = delay_s
                self.out.retry_error = error
                return
        self._end(self._failure(error))

    def _failure(self, error: BaseException) -> Outcome:
        data = self.env.values.encode_error(error)
        return Outcome(REJECTED, Value(self._value_headers(), data), error)

    def _value_headers(self) -> dict[str, str]:
        return {} if self.attempt == 1 else {HEADER_ATTEMPT: str(self.attempt)}

    def _end(self, outcome: Outcome) -> None:
        """Settle, but not before all that it started has (API: Context)."""
        missed = self.never_made()
        if missed is not None and not isinstance(outcome.error, NonDeterminismError):
            mismatch = left_over(missed, self._where())
            mismatch.__cause__ = outcome.error
            outcome = self._failure(mismatch)
        self._ended = outcome
        if not self.attached:
            self.out.done = outcome
            return
        self.wait = Wait(self.attached, len(self.attached), self._all_settled)

    def _all_settled(self) -> Any:
        self.out.done = self._ended
        return NOTHING

    def _where(self) -> str:
        code = getattr(self.function.fn, "__code__", None)
        return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else "?"


def local_routine(
    caller: Routine, start: LocalStart, history: list[PromiseRecord] | None = None
) -> Routine:
    """Make the routine of a call that `caller` makes inside its activation."""
    spec = start.spec
    return Routine(
        caller.env,
        start.function,
        start.record,
        origin=caller.origin,
        branch=caller.branch,
        args=spec.args,
        kwargs=spec.kwargs,
        history=history,
        retry=caller.env.values.retry_policy(spec.retry),
        time_ms=start.time_ms,
    )


def _later(value: Any, error: BaseException | None) -> Callable[[], Any]:
    def finish() -> Any:
        if error is not None:
            raise error
        return value

    return finish
