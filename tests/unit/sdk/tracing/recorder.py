"""Spans that were recorded in a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import SpanContext, Tracer

from understudy.tracing import follow_global, set_tracer_provider


class Recorder:
    """Records the spans of understudy, and of the user's code in a test."""

    def __init__(self, sampler: Sampler) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def user(self) -> Tracer:
        """A tracer of the user's code."""
        return self.provider.get_tracer("user")

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in the order in which they began."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    @property
    def names(self) -> list[str]:
        """The names of the spans."""
        return [span.name for span in self.spans]

    def one(self, name: str) -> ReadableSpan:
        """Return the only span of that name."""
        (span,) = self.all(name)
        return span

    def all(self, name: str) -> list[ReadableSpan]:
        """Return the spans of that name."""
        return [span for span in self.spans if span.name == name]

    def clear(self) -> None:
        """Forget the spans."""
        self._exporter.clear()


@contextmanager
def recording(sampler: Sampler = ALWAYS_ON) -> Iterator[Recorder]:
    """Record spans, by default all that no parent decides about."""
    recorder = Recorder(ParentBased(sampler))
    set_tracer_provider(recorder.provider)
    try:
        yield recorder
    finally:
        follow_global()


def id_of(span: ReadableSpan) -> int:
    """Return the id of a span."""
    return context_of(span).span_id


def trace_of(span: ReadableSpan) -> int:
    """Return the id of a span's trace."""
    return context_of(span).trace_id


def parent_of(span: ReadableSpan) -> int | None:
    """Return the id of a span's parent; None if it has none."""
    return None if span.parent is None else span.parent.span_id


def links_of(span: ReadableSpan) -> list[int]:
    """Return the ids of the spans that a span is linked to."""
    return [link.context.span_id for link in span.links]


def context_of(span: ReadableSpan) -> SpanContext:
    """Return the context of a span."""
    context: SpanContext | None = span.context
    assert context is not None
    return context
