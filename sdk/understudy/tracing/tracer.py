"""The tracer of a process: spans of calls, attempts and steps by OpenTelemetry's API.

Only `understudy.tracing` imports this module, once it has found a tracer provider.

How it works
------------
* ``call NAME`` (PRODUCER) lasts from the call until it is stored, and is made by the caller.
* ``attempt NAME`` (CONSUMER) is one activation: from the moment at which a node has the task until
  it suspends, ends or loses it. It is a child of the call's span. Each but the first is linked to
  the first, too.
* ``step NAME`` (INTERNAL) is a local call while it runs here. A step that a replay knows the result
  of is not run, so it has no span.

The ids of all of them follow from ids of promises (`ids`). OpenTelemetry has no way to ask for an
id, but its SDK lets a tracer have a generator of ids, and this module gives its own tracer one
(`ChosenIds`). With an SDK that has none, ids are random, and calls that functions make have no span
of their own, since its id would have to be known before it is made.

The headers of a call name its span (``traceparent``). Whether a call graph is sampled is decided at
its root, for all of it. The calls that a task makes which is not sampled have no header, and a call
of a function without the header is not sampled: that saves the bytes for the usual case. A detached
call begins a trace of its own, with a link to its call's span (``tracelink``). So does a call that
a queue makes; one of a schedule has no link. Its trace has an id that follows from the call's, so
all of its attempts find it.

In a run that replays, the current span looks as if it was not sampled (`RunSpan`). So spans that
the user's code makes are not recorded, by all samplers that follow the parent, which is the
default. The same span is current after the replay, when it tells the truth.

What is not perfect
-------------------
* A span of the user's own that was begun in a replay is silent until it ends, with those inside it.
* What a killed process has not exported is lost, which may be the parent of what others export.
* A sampler that does not follow the parent is not asked about calls that are not sampled.
* Where a process without a tracer provider calls one with it, the called function has no span.
* The users' processors run in here. What they raise is logged, once, and harms nothing else.
"""

from __future__ import annotations

from concurrent.futures import Future
from functools import lru_cache
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span, SpanContext, SpanKind

from understudy.tracing.ids import call_span_id, trace_id_of
from understudy.tracing.run_traces import Attempt, QuietTrace, SpanTrace
from understudy.tracing.spans import Spans, context_of, fail, group, harmless, headers_of
from understudy_actors.interpreter.ports import FunctionLike
from understudy_actors.interpreter.requests import CallSpec
from understudy_store.records import (
    HEADER_TRACEPARENT,
    HEADER_TRACESTATE,
    TAG_ORIGIN,
    PromiseRecord,
)


def global_provider() -> Any:
    """Return the global tracer provider; None if nobody has set one."""
    provider = trace.get_tracer_provider()
    nothing = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
    return None if isinstance(provider, nothing) else provider


class OtelTracing:
    """Makes the spans of a process. Fills `interpreter.tracing.Tracing`.

    Parameters
    ----------
    provider
        The tracer provider.
    chosen
        What stands for it where it was chosen.

    Attributes
    ----------
    spans
        Starts the spans.
    """

    def __init__(self, provider: Any, chosen: object = None) -> None:
        self.chosen = chosen
        self.spans = Spans(provider)

    # Calls from outside --------------------------------------------------------------------------

    @harmless
    def call(self, spec: CallSpec, id: str) -> CallSpan:
        """Start the span of a call from outside of durable functions, and fill in its headers."""
        parent = trace.get_current_span().get_span_context()
        span = self.spans.start(
            f"call {spec.name}",
            SpanKind.PRODUCER,
            parent if parent.is_valid else None,
            call_span_id(id),
            {"understudy.id": id, "understudy.function": spec.name, **group(spec.target)},
            trace_id=trace_id_of(id),
        )
        spec.trace = headers_of(span.get_span_context())
        return CallSpan(span)

    # Tasks ---------------------------------------------------------------------------------------

    @harmless
    def attempt(
        self,
        promise: PromiseRecord,
        function: FunctionLike,
        version: int,
        number: int,
        replayed: int,
    ) -> SpanTrace | QuietTrace:
        """Return the trace of a task; see `interpreter.tracing.Tracing`."""
        headers = promise.param.headers
        text = headers.get(HEADER_TRACEPARENT)
        if text is None and TAG_ORIGIN in promise.tags:
            return _quiet(promise.tags[TAG_ORIGIN])
        parent = context_of(text, headers.get(HEADER_TRACESTATE))
        if parent is not None and not parent.trace_flags.sampled:
            return QuietTrace(parent)
        task = Attempt(self.spans, promise, function, version, number, replayed, parent)
        span = task.start()
        if not span.get_span_context().trace_flags.sampled:
            return QuietTrace(span.get_span_context())
        return SpanTrace(task, task, span)


class CallSpan:
    """The span of a call from outside, which ends when the call is stored."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    @harmless
    def stored(self, stored: Future[None]) -> None:
        """End the span, with the error if the call was refused."""
        error = None if stored.cancelled() else stored.exception()
        if error is not None:
            fail(self._span, error)
        self._span.end()


@lru_cache(maxsize=1024)
def _quiet(origin: str) -> QuietTrace:
    """Return the trace of the calls of a graph that are not sampled."""
    context = SpanContext(trace_id_of(origin), call_span_id(origin), is_remote=True)
    return QuietTrace(context)
