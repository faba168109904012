"""The functions of the benchmarks in a process that traces a tenth of all calls."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from understudy.bench.app import runtime

#: the environment variable for the part of all calls that is sampled
SAMPLED_VARIABLE: Final = "BENCHMARK_SAMPLED"


class Nowhere(SpanExporter):
    """Takes spans and forgets them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002
        """Forget some spans."""
        return SpanExportResult.SUCCESS


def provider() -> TracerProvider:
    """Return a tracer provider that samples that part of all traces, a tenth by default."""
    part = float(os.environ.get(SAMPLED_VARIABLE, "0.1"))
    made = TracerProvider(sampler=ParentBased(TraceIdRatioBased(part)))
    made.add_span_processor(BatchSpanProcessor(Nowhere()))
    return made


if __name__ == "benchmarks.traced_app":
    trace.set_tracer_provider(provider())

__all__ = ["provider", "runtime"]
