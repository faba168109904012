"""The traces of runs: what the node tells of tasks and steps becomes spans."""

from __future__ import annotations

from collections.abc import Container, Sequence
from contextvars import Context as Variables
from time import time_ns
from typing import Final, NamedTuple

from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind
from opentelemetry.trace.status import Status, StatusCode
from opentelemetry.util.types import AttributeValue

from understudy.tracing.headers import TraceParent, parse
from understudy.tracing.ids import attempt_span_id, call_span_id, step_span_id, trace_id_of
from understudy.tracing.run_span import RunSpan
from understudy.tracing.spans import (
    STATUS_CHARS_MAX,
    Spans,
    fail,
    group,
    harmless,
    make_current,
    remote,
)
from understudy_actors.interpreter.ports import FunctionLike
from understudy_actors.interpreter.replay import ReplayState
from understudy_actors.interpreter.requests import CallSpec
from understudy_actors.interpreter.step_result import StepResult
from understudy_store.records import (
    HEADER_TRACELINK,
    HEADER_TRACEPARENT,
    HEADER_TRACESTATE,
    TAG_TARGET,
    PromiseRecord,
    origin_of,
)

#: ids of awaited promises in an event
_AWAITED_MAX: Final = 10


class QuietTrace:
    """The trace of tasks that are not sampled: there are no spans in it.

    It costs next to nothing, since the tasks of a call graph share it and its context variables.
    """

    def __init__(self, context: SpanContext) -> None:
        self._variables = Variables()
        self._variables.run(make_current, NonRecordingSpan(context))
        self.unanswered: Container[str] = ()

    def enter(self, variables: Variables | None, replay: ReplayState) -> Variables:  # noqa: ARG002
        """Return context variables with the context that is not sampled."""
        return self._variables

    def started(self) -> None:
        """Do nothing, as all that follow."""

    def calling(self, spec: CallSpec) -> None: ...
    def answered(self, id: str, refusal: str | None) -> None: ...
    def step(self, name: str, id: str) -> None: ...
    def next_attempt(self) -> None: ...
    def suspended(self, awaited: Sequence[str]) -> None: ...
    def resumed(self, version: int) -> None: ...
    def stepped(self, result: StepResult) -> None: ...
    def let_go(self, reason: str) -> None: ...


class Attempt:
    """The facts of a task that its spans are made of."""

    def __init__(
        self,
        spans: Spans,
        promise: PromiseRecord,
        function: FunctionLike,
        version: int,
        number: int,
        replayed: int,
        parent: SpanContext | None,
    ) -> None:
        self.spans = spans
        self.version = version
        self.replayed = replayed
        self._promise = promise
        self._function = function
        self._number = number
        self._parent = parent

    def start(self) -> Span:
        """Start the span of the attempt under the version of now."""
        promise, function, id = self._promise, self._function, self._promise.id
        trace_id = trace_id_of(id) if self._parent is None else self._parent.trace_id
        links = []
        link = parse(promise.param.headers.get(HEADER_TRACELINK))
        if link is not None:
            links.append(Link(remote(link)))
        if self.version > 1 and self.spans.chooses_ids:
            first = TraceParent(trace_id, attempt_span_id(id, 1), True)
            links.append(Link(remote(first), {"understudy.link": "first attempt"}))
        # Each attribute costs half a microsecond.
        attributes: dict[str, AttributeValue] = {
            "understudy.id": id,
            "understudy.origin": origin_of(promise),
            "understudy.function": function.name,
            "understudy.attempt": self._number,
            "understudy.node": self.spans.node,
            **group(promise.tags.get(TAG_TARGET)),
        }
        if function.version != 1:
            attributes["understudy.version"] = function.version
        if self.version != 1:
            attributes["understudy.activation"] = self.version
            attributes["understudy.replayed_steps"] = self.replayed
        return self.spans.start(
            f"attempt {function.name}",
            SpanKind.CONSUMER,
            self._parent,
            attempt_span_id(id, self.version),
            attributes,
            trace_id=trace_id,
            links=links,
        )


class Step:
    """The facts of a local call that its spans are made of.

    Parameters
    ----------
    caller
        The trace of the run that makes the call.
    number
        Of the attempt, from 1.
    """

    def __init__(
        self, task: Attempt, caller: SpanTrace, name: str, id: str, number: int = 1
    ) -> None:
        self.number = number
        self._task = task
        self._caller = caller
        self._name = name
        self._id = id
        #: the current span of the caller when it made the call
        self.around: Span = trace.INVALID_SPAN

    def start(self) -> Span:
        """Start a span of the step."""
        task, parent = self._task, self.around.get_span_context()
        if not parent.trace_flags.sampled:
            # It was begun in a replay, which is silent. The step is no replay.
            parent = self._caller.shown.true_context
        return task.spans.start(
            f"step {self._name}",
            SpanKind.INTERNAL,
            parent,
            step_span_id(self._id, task.version, self.number),
            {
                "understudy.id": self._id,
                "understudy.function": self._name,
                "understudy.attempt": self.number,
            },
        )

    def again(self) -> Step:
        """Return the facts of the next attempt."""
        return Step(self._task, self._caller, self._name, self._id, self.number + 1)


class _Asked(NamedTuple):
    """A call that the store has not answered."""

    function: str
    parent: SpanContext
    span_id: int
    began_ns: int


class SpanTrace:
    """The trace of a run that is sampled. Fills `interpreter.spans.RunTrace`.

    Parameters
    ----------
    task
        The task that the run belongs to.
    facts
        What its spans are made of: those of the task, or of a step.
    span
        The span; None: it is started when the run is.

    Attributes
    ----------
    shown
        What the run sees as its current span.
    """

    def __init__(self, task: Attempt, facts: Attempt | Step, span: Span | None = None) -> None:
        self._task = task
        self._facts = facts
        self._span = span
        self.shown = RunSpan(span)
        self._is_suspended = False
        #: calls that the store has not answered
        self.unanswered: dict[str, _Asked] = {}

    def enter(self, variables: Variables | None, replay: ReplayState) -> Variables:
        """Return context variables with the span of the run as the current one."""
        self.shown.replay = replay
        own = Variables() if variables is None else variables.copy()
        if isinstance(self._facts, Step):
            self._facts.around = own.run(trace.get_current_span)
        own.run(make_current, self.shown)
        return own

    @harmless
    def started(self) -> None:
        """Start the span of a step; that of a task was started when the node was handed it."""
        if self._span is None:
            self._start()

    def _start(self) -> Span:
        span = self._span = self.shown.real = self._facts.start()
        return span

    # Calls and steps -----------------------------------------------------------------------------

    @harmless
    def calling(self, spec: CallSpec) -> None:
        """Give a call its headers, and keep what its span is made of."""
        parent = trace.get_current_span().get_span_context()
        if not parent.trace_flags.sampled:
            # It was begun in a replay, and the call is new.
            parent = self.shown.true_context
        span_id = parent.span_id
        if self._task.spans.chooses_ids:
            span_id = call_span_id(spec.id)
            self.unanswered[spec.id] = _Asked(spec.name, parent, span_id, time_ns())
        text = TraceParent(parent.trace_id, span_id, True).text
        if spec.kind == "detached":
            spec.trace = {HEADER_TRACELINK: text}
            return
        spec.trace = {HEADER_TRACEPARENT: text}
        if parent.trace_state:
            spec.trace[HEADER_TRACESTATE] = parent.trace_state.to_header()

    @harmless
    def answered(self, id: str, refusal: str | None) -> None:
        """Make the span of a call that is stored, or refused."""
        asked = self.unanswered.pop(id)
        span = self._task.spans.start(
            f"call {asked.function}",
            SpanKind.PRODUCER,
            asked.parent,
            asked.span_id,
            {"understudy.id": id, "understudy.function": asked.function},
            start_time=asked.began_ns,
        )
        if refusal is not None:
            span.set_status(Status(StatusCode.ERROR, refusal[:STATUS_CHARS_MAX]))
        span.end()

    def step(self, name: str, id: str) -> SpanTrace:
        """Return the trace of a local call."""
        return SpanTrace(self._task, Step(self._task, self, name, id))

    def next_attempt(self) -> SpanTrace | None:
        """Return the trace of the next attempt of a step."""
        facts = self._facts
        return SpanTrace(self._task, facts.again()) if isinstance(facts, Step) else None

    # The life of the run -------------------------------------------------------------------------

    @harmless
    def suspended(self, awaited: Sequence[str]) -> None:
        """End the span, because the task has been given up for now."""
        if self._span is None:
            return
        self._is_suspended = True
        told: dict[str, AttributeValue] = {
            "understudy.awaited": tuple(awaited[:_AWAITED_MAX]),
            "understudy.awaited_count": len(awaited),
        }
        self._span.add_event("suspended", told)
        self._end("")

    @harmless
    def resumed(self, version: int) -> None:
        """Start another span, because the task goes on."""
        self._task.version, self._task.replayed = version, 0
        if self._is_suspended:
            self._is_suspended = False
            self._start().add_event("resumed")

    @harmless
    def stepped(self, result: StepResult) -> None:
        """End the span if the function has ended."""
        if result.done is not None:
            self._end("", result.done.error)
        elif result.retry_after_s is not None:
            if self._span is not None:
                self._span.set_attribute("understudy.retry_after", result.retry_after_s)
            self._end("", result.retry_error)

    @harmless
    def let_go(self, reason: str) -> None:
        """End the span, because this node has no more to do with the run."""
        self._end(reason)

    def _end(self, event: str, error: BaseException | None = None) -> None:
        span, self._span = self._span, None
        if span is None:
            return
        if event:
            span.add_event(event)
        if error is not None:
            fail(span, error)
        span.end()
