"""The calls that one run makes: numbered, matched with the history, turned into commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from understudy_actors.errors import CommandError, RequestError
from understudy_actors.interpreter.child_commands import (
    CallFrame,
    create_command,
    pending_record,
)
from understudy_actors.interpreter.empty import NO_LIST, NO_SET
from understudy_actors.interpreter.ports import FunctionLike
from understudy_actors.interpreter.replay import ReplayState
from understudy_actors.interpreter.requests import Call, CallSpec, Promise, Sleep
from understudy_actors.interpreter.step_result import LocalStart, StepResult
from understudy_actors.interpreter.strands import Strand
from understudy_actors.interpreter.tracing import RunTrace
from understudy_actors.interpreter.wait import Wait
from understudy_store.commands import PromiseSettle
from understudy_store.records import RESOLVED, PromiseRecord, Value

_LOCAL: Final = frozenset(("lfi", "lfc"))
#: calls whose caller does not settle before they do
_ATTACHED: Final = frozenset(("rfi", "rfc", "lfi", "lfc"))
#: calls that a node performs, so that its trace is to be known there
_REMOTE: Final = frozenset(("rfi", "rfc", "detached"))
#: calls that make no sense unless the function waits for them
_AWAITED: Final = frozenset(("rfc", "lfc", "sleep"))


class ChildCalls:
    """The calls of one run, and what the step under way asks for because of them.

    A call is numbered when ``ctx`` makes its request, since the order of requests is what a replay
    repeats. Its command is made when the request is yielded; if the function yields something else
    first, then just before that.

    Parameters
    ----------
    warn
        Takes a line about a likely mistake of the function's author.
    """

    __slots__ = (
        "_warn",
        "clock",
        "deferred",
        "frame",
        "function",
        "local_ids",
        "now_ms",
        "result",
        "replay",
        "trace",
    )

    def __init__(
        self,
        function: FunctionLike,
        frame: CallFrame,
        replay: ReplayState,
        warn: Callable[[str], None],
    ) -> None:
        self.function = function
        self.frame = frame
        self.replay = replay
        self._warn = warn
        #: calls that were made, and not yielded yet
        self.deferred: list[CallSpec] = NO_LIST
        #: ids of local calls
        self.local_ids: set[str] = NO_SET
        #: epoch milliseconds, as of the beginning of the step or the latest call
        self.now_ms = 0
        #: the time while a step goes on; without it the step's beginning counts
        self.clock: Callable[[], int] | None = None
        #: told of the calls that are made; None: nothing is traced
        self.trace: RunTrace | None = None
        #: result of the step under way
        self.result: StepResult

    def new_call(self, kind: str, name: str, site: str) -> CallSpec:
        """Number the next call in order, and return its spec for the caller to fill in."""
        replay = self.replay
        strand = replay.own if replay.find_strand is None else self._task_strand(name or kind)
        return CallSpec(kind, strand.next_id(), name, site)

    def _task_strand(self, call: str) -> Strand:
        replay = self.replay
        assert replay.find_strand is not None
        strand = replay.find_strand()
        if strand is None:
            raise RequestError(
                f"{self.function.name} calls {call} outside of its own tasks (in a callback or on "
                "another thread, say), where the order of calls is not known: make the call in the "
                "function or in a task that it starts"
            )
        if strand is not replay.own:
            replay.own.tasks_called = True
        return strand

    def defer(self, spec: CallSpec) -> None:
        """Have the call made at the next yield, even if it is not what is yielded."""
        if self.deferred is NO_LIST:
            self.deferred = []
        self.deferred.append(spec)

    def make_deferred(self, asked: Any, alone: bool = True) -> None:
        """Make the calls that were deferred before `asked` was yielded, in their order.

        Parameters
        ----------
        asked
            The object that the function yields now; None at its end.
        alone
            Nobody but the function yields, no task that it has started.
        """
        deferred = self.deferred
        if len(deferred) == 1 and asked.__class__ is Call and asked.spec is deferred[0]:
            # The common case: the call itself is yielded, which makes it.
            deferred.clear()
            return
        self.deferred = NO_LIST
        yielded = getattr(asked, "spec", None)
        # An All or Race makes its own calls, among which any of these may be; and a task may be
        # about to await them.
        certain = asked is None or (alone and isinstance(asked, (Promise, Call, Sleep)))
        for spec in deferred:
            if spec.made:
                continue
            forgotten = certain and spec is not yielded and spec.kind in _AWAITED
            if forgotten and not self.replay.replaying:
                self._warn(
                    f"{self.function.name}: ctx.{spec.label} at {spec.site} was not yielded, so "
                    "nothing waits for it: write `yield ctx...` (or await)"
                )
            if spec.kind == "sleep":
                continue
            try:
                self.make(spec)
            except CommandError:
                if alone or spec is yielded:
                    raise
                # It is another task's, which is told when it awaits the call.
                spec.made = False
                self.defer(spec)

    def make(self, spec: CallSpec, hint: Any = None) -> Promise[Any]:
        """Make a call, unless it was made or its promise is in the history.

        Raises
        ------
        NonDeterminismError
            The history holds another call in this place.
        """
        kind = spec.kind
        attached = kind in _ATTACHED
        promise: Promise[Any] = Promise(spec.id, attached=attached, hint=hint)
        if kind in _LOCAL:
            promise.local_spec = spec
        if spec.made:
            return promise
        frame = self.frame
        if spec.place is not None and spec.id in (frame.id, frame.branch):
            raise CommandError(
                400,
                f"{spec.label} at {spec.site} has the id {spec.id!r}, which is that of the call "
                "that makes it: give it an id of its own",
            )
        spec.made = True
        replay = self.replay
        record = replay.match(spec)
        if self.clock is not None:
            self.now_ms = self.clock()
        if kind in _LOCAL:
            self._start_local(spec, record)
        elif record is None:
            if self.trace is not None and kind in _REMOTE:
                self.trace.calling(spec)
            self.result.commands.append(create_command(self.frame, spec, self.now_ms))
        if attached and (record is None or not record.settled):
            replay.attach(spec.id)
        return promise

    def _start_local(self, spec: CallSpec, record: PromiseRecord | None) -> None:
        self.add_local_id(spec.id)
        if record is None:
            create = create_command(self.frame, spec, self.now_ms)
            self.result.commands.append(create)
            record = pending_record(create, self.now_ms)
        elif record.settled:
            return
        function = spec.function
        assert function is not None
        self.result.start(LocalStart(function, spec, record, self.replay.strand.time_ms))

    def settle_race(self, spec: CallSpec, winner: int) -> None:
        """Store which of a race's items has won, in one promise that is created and settled."""
        data = self.replay.values.encode_value(winner, "the winner of a race")
        self.result.commands += (
            create_command(self.frame, spec, self.now_ms),
            PromiseSettle(spec.id, RESOLVED, Value({}, data)),
        )
        self.add_local_id(spec.id)

    def wake_on(self, wait: Wait | None) -> list[str]:
        """Return ids, awaitable from outside, of which one must settle for `wait` to be over."""
        return [] if wait is None else [id for id in wait.wake_on() if id not in self.local_ids]

    def add_local_id(self, id: str) -> None:
        """Note that the promise `id` settles inside this activation, so nobody outside is asked."""
        if self.local_ids is NO_SET:
            self.local_ids = set()
        self.local_ids.add(id)
