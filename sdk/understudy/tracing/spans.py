"""The starting of spans with chosen ids, and their context in headers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
)
from opentelemetry.trace.status import Status, StatusCode
from opentelemetry.util.types import AttributeValue

from understudy._version import __version__
from understudy.log_lines import say
from understudy.tracing.headers import TraceParent, parse
from understudy.values.error_encoding import text as shown
from understudy_store.addresses import group_of
from understudy_store.records import HEADER_TRACEPARENT, HEADER_TRACESTATE

P = ParamSpec("P")
T = TypeVar("T")

#: characters of an error's text in the status of a span
STATUS_CHARS_MAX: Final = 500
_NOWHERE: Final = otel.Context()


class _Said:
    """A failure, once it has been logged."""

    is_said = False


def harmless(method: Callable[P, T]) -> Callable[P, T | None]:
    """Return a method that returns None instead of raising: it runs users' processors."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return method(*args, **kwargs)
        except Exception:
            if not _Said.is_said:
                _Said.is_said = True
                text = "a span could not be made or ended; calls are not affected"
                say(logging.WARNING, text, exc_info=True)
            return None

    return call


class ChosenIds:
    """A generator of ids that gives the one that was chosen on this thread, else a random one."""

    def __init__(self, others: Any) -> None:
        self._others = others
        self._chosen = threading.local()

    def choose(self, trace_id: int | None, span_id: int | None) -> None:
        """Choose the ids of the next span of this thread; None: random ones."""
        self._chosen.trace_id, self._chosen.span_id = trace_id, span_id

    def generate_span_id(self) -> int:
        """Return the id of a new span."""
        chosen: int | None = getattr(self._chosen, "span_id", None)
        return self._others.generate_span_id() if chosen is None else chosen

    def generate_trace_id(self) -> int:
        """Return the id of a new trace."""
        chosen: int | None = getattr(self._chosen, "trace_id", None)
        return self._others.generate_trace_id() if chosen is None else chosen

    def is_trace_id_random(self) -> bool:
        """Return False, since it follows from the id of a promise."""
        return False


class Spans:
    """Starts spans with one tracer provider.

    Parameters
    ----------
    provider
        The tracer provider.

    Attributes
    ----------
    node
        The name of this process among its peers.
    """

    def __init__(self, provider: Any) -> None:
        self.provider = provider
        self.node = ""
        self._tracer = provider.get_tracer("understudy", __version__)
        #: the latest parent and its context, since the calls of a function have the same
        self._latest: tuple[SpanContext, otel.Context] | None = None
        others = getattr(self._tracer, "id_generator", None)
        self._ids: ChosenIds | None = None
        if isinstance(others, ChosenIds):
            self._ids = others  # The SDK gives the same tracer again.
        elif others is not None:
            self._ids = self._tracer.id_generator = ChosenIds(others)

    @property
    def chooses_ids(self) -> bool:
        """True if spans get the ids that they are to have."""
        return self._ids is not None

    def start(
        self,
        name: str,
        kind: SpanKind,
        parent: SpanContext | None,
        span_id: int,
        attributes: Mapping[str, AttributeValue],
        *,
        trace_id: int | None = None,
        links: Sequence[Link] = (),
        start_time: int | None = None,
    ) -> Span:
        """Start a span, with the ids that are given; `trace_id` counts where it has no parent."""
        around = _NOWHERE if parent is None else self._around(parent)
        ids = self._ids
        if ids is not None:
            ids.choose(trace_id, span_id)
        try:
            span: Span = self._tracer.start_span(name, around, kind, attributes, links, start_time)
            return span
        finally:
            if ids is not None:
                ids.choose(None, None)

    def _around(self, parent: SpanContext) -> otel.Context:
        latest = self._latest
        if latest is None or latest[0] is not parent:
            made = trace.set_span_in_context(NonRecordingSpan(parent), _NOWHERE)
            latest = self._latest = (parent, made)
        return latest[1]


def headers_of(context: SpanContext) -> dict[str, str]:
    """Return the headers of a call that belongs to a span."""
    is_sampled = bool(context.trace_flags.sampled)
    headers = {HEADER_TRACEPARENT: TraceParent(context.trace_id, context.span_id, is_sampled).text}
    if context.trace_state:
        headers[HEADER_TRACESTATE] = context.trace_state.to_header()
    return headers


def context_of(text: str | None, state: str | None) -> SpanContext | None:
    """Return the span that a call belongs to by its two headers; None: it begins a trace."""
    parent = parse(text)
    if parent is None:
        return None
    return remote(parent, None if state is None else TraceState.from_header([state]))


def remote(parent: TraceParent, state: TraceState | None = None) -> SpanContext:
    """Return the context of a span that another process has made."""
    flags = TraceFlags(int(parent.is_sampled))
    return SpanContext(parent.trace_id, parent.span_id, True, flags, state)


def make_current(span: Span) -> None:
    """Make a span the current one."""
    otel.attach(trace.set_span_in_context(span))


def group(target: str | None) -> dict[str, str]:
    """Return the attribute that names the group of a call."""
    return {} if target is None else {"understudy.group": group_of(target)}


def fail(span: Span, error: BaseException) -> None:
    """Note on a span that it ended with an error. The error's class may raise when it is shown."""
    text = f"{type(error).__name__}: {shown(lambda: str(error), keep_end=False)}"
    span.set_status(Status(StatusCode.ERROR, text[:STATUS_CHARS_MAX]))
    with suppress(BaseException):
        span.record_exception(error)
