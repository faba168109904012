"""The interpreter: drives one durable function against what is known.

A routine is one run of one function: the body of a task, or a local call inside one. It is pure: it
touches no clock, socket or thread. It is fed settled promises with `learn`, and `step` runs the
function until it must wait, giving back the commands to send and the local calls to start.

A replay is the same thing with more known: ids are deterministic, so a call whose promise is in the
history is not made again, and a wait for it ends at once. That is all there is to recovery.

One thread at a time steps a routine; `learn` may be called from another one meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Final

from understudy_actors.errors import NonDeterminismError
from understudy_actors.functions import Environment, FunctionLike, RetryPolicy
from understudy_actors.interpreter import history
from understudy_actors.interpreter.issuing import (
    create_command,
    local_create,
    race_commands,
    timer_command,
)
from understudy_actors.interpreter.outputs import LocalStart, Outcome, Output, pending_record
from understudy_actors.interpreter.requests import (
    All,
    Call,
    CallSpec,
    Gather,
    Promise,
    Race,
    Request,
    Sleep,
    Subroutine,
)
from understudy_actors.interpreter.waits import Wait
from understudy_store.records import REJECTED, RESOLVED, TAG_SCOPE, PromiseRecord, Value

#: creates that may be unanswered before the function is paused, and when it goes on
UNANSWERED_MAX: Final = 8192
UNANSWERED_LOW: Final = UNANSWERED_MAX // 2
#: commands after which a long step hands out what it has
FLUSH_COMMANDS: Final = 256

#: takes a partial output in the middle of a step
Flush = Callable[["Routine", Output], None]

_NOTHING: Final = object()


class Routine:
    """One run of a durable function."""

    __slots__ = (
        "_answered",
        "args",
        "_data",
        "_ended",
        "kwargs",
        "_mismatch",
        "_out",
        "_sent",
        "_stack",
        "_started",
        "_unissued",
        "_unissued_head",
        "_wait",
        "attached",
        "attempt",
        "branch",
        "calls",
        "clock",
        "dropped",
        "env",
        "flush",
        "function",
        "id",
        "inbox",
        "known",
        "locals",
        "now_ms",
        "origin",
        "record",
        "replaying",
        "retry",
        "time_ms",
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
        self.env = env
        self.function = function
        self.record = record
        self.id = record.id
        self.origin = origin
        #: id of the task that this run belongs to
        self.branch = branch
        self.attempt = attempt
        self.retry = retry
        self.flush = flush
        #: promises of this run, by id, as last heard of
        self.known: dict[str, PromiseRecord] = {r.id: r for r in history} if history else {}
        #: recorded calls that this run has not made yet: while there are any, it replays
        self.replaying = {r.id for r in history} if history else None
        self.inbox: deque[PromiseRecord] = deque()
        #: attached children that have not settled
        self.attached: dict[str, None] = {}
        #: ids of local calls of this run
        self.locals: set[str] = set()
        #: how many calls were made; numbers the children's ids
        self.calls = 0
        #: `time_ms` is given where `record` is not yet what the store will hold
        self.time_ms = record.created_at if time_ms is None else time_ms
        self.now_ms = 0
        #: the time while a step goes on; without it the step's beginning counts
        self.clock: Callable[[], int] | None = None
        self.dropped = False
        #: a local call's arguments as they are; a task's come encoded, in `_data`
        self.args = args
        self.kwargs = kwargs
        self._data = data
        self._started = False
        self._stack: list[Generator[Any, Any, Any]] = []
        self._unissued: list[CallSpec] = []
        self._wait: Wait | None = None
        self._ended: Outcome | None = None
        self._mismatch: NonDeterminismError | None = None
        self._out = Output()
        self._sent = 0
        self._answered = 0

    # What the node tells -------------------------------------------------------------------------

    def learn(self, record: PromiseRecord) -> None:
        """A promise settled; it counts at the next step."""
        self.inbox.append(record)

    def answered(self, count: int) -> None:
        """The broker answered that many of this run's commands."""
        self._answered += count

    # What the context asks -----------------------------------------------------------------------

    def new_call(self, kind: str, name: str, site: str) -> CallSpec:
        """The next call in order; it is made when it is yielded, or at the next yield."""
        self.calls += 1
        return CallSpec(kind, f"{self.id}.{self.calls}", name, site)

    def defer(self, spec: CallSpec) -> None:
        """Make the call even if nobody yields it."""
        self._unissued.append(spec)

    # Stepping ------------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """It cannot go on before something settles."""
        return self._wait is not None and not self._wait.ready

    @property
    def paused(self) -> bool:
        """It has asked for so much that it waits for the broker to catch up."""
        return self._wait is not None and self._wait.ready and self._behind

    @property
    def runnable(self) -> bool:
        """A step would get it further, although nothing new has settled."""
        return self._wait is not None and self._wait.ready and not self._behind

    @property
    def alive(self) -> bool:
        """The function has begun and has not ended."""
        return bool(self._stack)

    @property
    def _behind(self) -> bool:
        # two counters, since two threads count
        return self._sent - self._answered > UNANSWERED_LOW

    def wake_on(self) -> list[str]:
        """Ids, awaitable from outside, of which one must settle for this run to go on."""
        wait = self._wait
        return [i for i in wait.wake_on() if i not in self.locals] if wait is not None else []

    def step(self, now_ms: int) -> Output:
        """Run the function until it must wait, ends, or (a coroutine) yields to its loop."""
        self.now_ms = now_ms
        self._absorb()
        if self._wait is not None:
            if not self._wait.ready or self._behind:
                return self._take()
            self._finish_wait()
        elif not self._started:
            self._started = True
            self._start()
        return self._take()

    def resume_foreign(self, value: Any = None, error: BaseException | None = None) -> Output:
        """A coroutine's event loop answers what it yielded."""
        self._absorb()
        if error is not None:
            self._run_throw(error)
        else:
            self._run_send(value)
        return self._take()

    def interrupt(self, error: BaseException) -> Output:
        """A coroutine's event loop raises `error` where the function waits for a request."""
        self._absorb()
        self._wait = None
        self._run_throw(error)
        return self._take()

    def close(self) -> None:
        """Let go of the function; its clean-up code runs."""
        self.dropped = True
        self._close_stack()

    def _close_stack(self) -> None:
        stack, self._stack = self._stack, []
        for generator in reversed(stack):
            try:
                generator.close()
            except BaseException:
                continue

    def _take(self) -> Output:
        out, self._out = self._out, Output()
        self._sent += len(out.commands)
        return out

    def _absorb(self) -> None:
        inbox, known, wait = self.inbox, self.known, self._wait
        while inbox:
            record = inbox.popleft()
            known[record.id] = record
            self.attached.pop(record.id, None)
            if wait is not None:
                wait.hit(record.id)

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
            self._stack.append(result)
            self._run_send(None)

    def _finish_wait(self) -> None:
        wait, self._wait = self._wait, None
        assert wait is not None
        try:
            value = wait.finish()
        except BaseException as error:
            self._run_throw(error)
            return
        if value is not _NOTHING:
            self._run_send(value)

    def _run_send(self, value: Any) -> None:
        self._run(value, None)

    def _run_throw(self, error: BaseException) -> None:
        self._run(None, error)

    def _run(self, value: Any, error: BaseException | None) -> None:
        """Send or throw into the function, and answer what it yields, until something must wait."""
        stack = self._stack
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
            if asked.__class__ not in _HANDLERS and self._is_foreign(asked):
                self._out.foreign = asked
                return
            try:
                if self._unissued:
                    self._issue_deferred()
                value, error = self._answer(asked), None
            except BaseException as raised:
                if raised is self._mismatch:
                    # not thrown into the function: it could catch it and go on
                    self._close_stack()
                    self._end(self._failure(raised))
                    return
                value, error = None, raised
            if value is _NOTHING:
                return
            if len(self._out.commands) >= FLUSH_COMMANDS and not self._hand_out():
                # the answer is kept until the broker has caught up
                self._wait = Wait((), 0, _later(value, error))
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
            self.flush(self, self._take())
        return self._sent - self._answered <= UNANSWERED_MAX

    def _answer(self, asked: Any) -> Any:
        """The value for a yielded request, or `_NOTHING` with `_wait` set."""
        handler = _HANDLERS.get(asked.__class__)
        if handler is None:
            raise TypeError(
                f"{self.function.name} yielded {asked!r}, which is no request: yield what ctx "
                "makes (ctx.rfc, ctx.sleep, ...), a promise, or use return"
            )
        return handler(self, asked)

    # Requests ------------------------------------------------------------------------------------

    def _on_call(self, call: Call[Any]) -> Any:
        promise = self._issue(call.spec, call.hint)
        return self._on_promise(promise) if call.wait else promise

    def _on_sleep(self, sleep: Sleep) -> Any:
        return self._on_promise(self._issue(sleep.spec))

    def _on_promise(self, promise: Promise[Any]) -> Any:
        record = self.known.get(promise.id)
        if record is not None and record.settled:
            return self._consume(promise)
        self._wait = Wait((promise.id,), 1, lambda: self._consume(promise))
        return _NOTHING

    def _on_all(self, request: All[Any]) -> Any:
        promises = [self._as_promise(item) for item in request.items]
        return self._wait_for(promises, None, lambda: [self._consume(p) for p in promises])

    def _on_gather(self, request: Gather) -> Any:
        return self._wait_for(request.promises, request.count, lambda: None)

    def _on_race(self, race: Race[Any]) -> Any:
        promises = [self._as_promise(item) for item in race.items]
        if not promises:
            raise ValueError("ctx.race needs at least one promise")
        record = self._match(race.spec)
        if record is not None and record.settled:
            return self._race_won(race, promises)
        return self._wait_for(promises, 1, lambda: self._decide_race(race, promises))

    def _decide_race(self, race: Race[Any], promises: list[Promise[Any]]) -> Any:
        """Store which one won before anyone can act on it."""
        settled = [
            (r.settled_at or 0, n)
            for n, p in enumerate(promises)
            if (r := self.known.get(p.id)) is not None and r.settled
        ]
        winner = min(settled)[1]
        self._out.commands += race_commands(self, race.spec, winner)
        self.locals.add(race.spec.id)
        self._wait = Wait((race.spec.id,), 1, lambda: self._race_won(race, promises))
        return _NOTHING

    def _race_won(self, race: Race[Any], promises: list[Promise[Any]]) -> Any:
        winner = int(self.env.values.decode_value(self.known[race.spec.id].value.data))
        if race.cancel:
            self._out.cancels += [
                p.id
                for n, p in enumerate(promises)
                if n != winner and not ((r := self.known.get(p.id)) is not None and r.settled)
            ]
        return self._on_promise(promises[winner])

    def _on_subroutine(self, request: Subroutine[Any]) -> Any:
        generator = request.start()
        try:
            first = next(generator)
        except StopIteration as stop:
            return stop.value
        self._stack.append(generator)
        return self._answer(first)

    def _wait_for(self, promises: Any, count: int | None, finish: Callable[[], Any]) -> Any:
        known = self.known
        ids = {p.id: None for p in promises}
        missing = [i for i in ids if (r := known.get(i)) is None or not r.settled]
        need = len(missing) if count is None else count - (len(ids) - len(missing))
        if need <= 0:
            return finish()
        self._wait = Wait(missing, need, finish)
        return _NOTHING

    def _as_promise(self, item: Any) -> Promise[Any]:
        if isinstance(item, Promise):
            return item
        if isinstance(item, Call):
            return self._issue(item.spec, item.hint)
        if isinstance(item, Sleep):
            return self._issue(item.spec)
        raise TypeError(f"{item!r} is no promise: pass what ctx.rfi, ctx.lfi or ctx.sleep make")

    def _consume(self, promise: Promise[Any]) -> Any:
        record = self.known[promise.id]
        if record.settled_at is not None and record.settled_at > self.time_ms:
            self.time_ms = record.settled_at
        if record.state == RESOLVED:
            return self.env.values.decode_value(record.value.data, promise.hint)
        raise self.env.values.settled_error(record)

    # Making calls --------------------------------------------------------------------------------

    def _issue_deferred(self) -> None:
        deferred, self._unissued = self._unissued, []
        for spec in deferred:
            if not spec.issued:
                self._issue(spec)

    def _match(self, spec: CallSpec) -> PromiseRecord | None:
        """The recorded promise of this call, if the history holds it and agrees."""
        record = self.known.get(spec.id)
        if record is not None:
            try:
                history.check(record, spec)
            except NonDeterminismError as mismatch:
                # told apart from one that a call of this function failed with
                self._mismatch = mismatch
                raise
            if self.replaying is not None:
                self.replaying.discard(spec.id)
        return record

    def _issue(self, spec: CallSpec, hint: Any = None) -> Promise[Any]:
        attached = spec.kind in ("rfi", "rfc", "lfi", "lfc")
        promise: Promise[Any] = Promise(spec.id, attached=attached, hint=hint)
        if spec.issued:
            return promise
        spec.issued = True
        record = self._match(spec)
        if self.clock is not None:
            self.now_ms = self.clock()
        if spec.kind in ("lfi", "lfc"):
            self._start_local(spec, record)
        elif record is None:
            self._out.commands.append(
                timer_command(self, spec) if spec.kind == "sleep" else create_command(self, spec)
            )
        if attached and (record is None or not record.settled):
            self.attached[spec.id] = None
        return promise

    def _start_local(self, spec: CallSpec, record: PromiseRecord | None) -> None:
        self.locals.add(spec.id)
        if record is None:
            create = local_create(self, spec)
            self._out.commands.append(create)
            record = pending_record(create, self.now_ms)
        elif record.settled:
            return
        function = spec.function
        assert function is not None
        self._out.locals.append(LocalStart(function, spec, record, self.time_ms))

    # Ending --------------------------------------------------------------------------------------

    def _returned(self, value: Any) -> None:
        what = f"the result of {self.function.name}"
        try:
            if self._unissued:
                self._issue_deferred()
            data = self.env.values.encode_value(value, what)
        except Exception as error:
            self._end(self._failure(error))
            return
        self._end(Outcome(RESOLVED, Value({}, data)))

    def _raised(self, error: BaseException) -> None:
        if self.calls == 0 and self.function.kind != "generator" and isinstance(error, Exception):
            policy = self.retry or self.function.retry or self.env.values.default_retry
            try:
                delay_s = policy.delay_s(self.attempt, error)
            except Exception as broken:
                # a policy of the user's own; its trouble must not hide the function's
                error.add_note(f"and the retry policy {policy!r} raised {broken!r}")
                delay_s = None
            if delay_s is not None:
                self._out.retry_after_s = delay_s
                self._out.retry_error = error
                return
        self._end(self._failure(error))

    def _failure(self, error: BaseException) -> Outcome:
        return Outcome(REJECTED, Value({}, self.env.values.encode_error(error)), error)

    def _end(self, outcome: Outcome) -> None:
        """Settle, but not before all that it started has (API: Context)."""
        missed = self._never_made()
        if missed is not None and not isinstance(outcome.error, NonDeterminismError):
            outcome = self._failure(history.left_over(missed, self._where()))
        self._ended = outcome
        if not self.attached:
            self._out.done = outcome
            return
        self._wait = Wait(self.attached, len(self.attached), self._all_settled)

    def _all_settled(self) -> Any:
        self._out.done = self._ended
        return _NOTHING

    def _never_made(self) -> PromiseRecord | None:
        """The first recorded call of this run that the code did not make."""
        if not self.replaying:
            return None
        left = [self.known[i] for i in self.replaying]
        return min(left, key=lambda r: (r.created_at, r.id))

    def _where(self) -> str:
        code = getattr(self.function.fn, "__code__", None)
        return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else "?"


def _later(value: Any, error: BaseException | None) -> Callable[[], Any]:
    def finish() -> Any:
        if error is not None:
            raise error
        return value

    return finish


def is_local(record: PromiseRecord) -> bool:
    """A step inside one activation."""
    return record.tags.get(TAG_SCOPE) == "local"


_HANDLERS: Final[dict[type, Callable[[Routine, Any], Any]]] = {
    Call: Routine._on_call,
    Sleep: Routine._on_sleep,
    Promise: Routine._on_promise,
    All: Routine._on_all,
    Gather: Routine._on_gather,
    Race: Routine._on_race,
    Subroutine: Routine._on_subroutine,
}
