"""A call graph as one trace of OpenTelemetry, and a replay that adds nothing to it.

Run it with ``python examples/traces.py``. It needs the extra [otel], and OpenTelemetry's SDK.
"""

from collections.abc import Generator
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from understudy import Context, Runtime

# In production: BatchSpanProcessor(OTLPSpanExporter()), which sends spans to a collector.
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("shop")

runtime = Runtime.local()


def pack(_: Context, number: int) -> int:
    """Pack a parcel, within a span of our own."""
    with tracer.start_as_current_span("weigh"):
        return number * 2


@runtime.register
def ship(_: Context, weight: int) -> str:
    """Ship a parcel."""
    trace.get_current_span().set_attribute("weight", weight)
    return f"{weight} kg"


@runtime.register
def order(ctx: Context, number: int) -> Generator[Any, Any, str]:
    """Pack a parcel, wait until the van comes, and ship it."""
    weight = yield ctx.run(pack, number)
    yield ctx.sleep(0.3)
    shipped: str = yield ctx.rpc(ship, weight)
    return shipped


def main() -> None:
    """Make a call within a request, and print its trace as a tree."""
    with runtime, tracer.start_as_current_span("request"):
        print(runtime.rpc("order-7", order, 7).result())
    spans = sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
    depth: dict[int, int] = {}
    for span in spans:
        above = -1 if span.parent is None else depth[span.parent.span_id]
        assert span.context is not None
        depth[span.context.span_id] = above + 1
        waits = " (waits)" if any(each.name == "suspended" for each in span.events) else ""
        print(f"{'  ' * (above + 1)}{span.name}{waits}")


if __name__ == "__main__":
    main()
