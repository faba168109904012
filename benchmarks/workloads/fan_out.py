"""Fan-out: one durable parent makes `size` no-op calls at once and waits for all of them."""

from __future__ import annotations

import time

from benchmarks.bare_pipeline.parent import Parent
from benchmarks.harness import Figures, Workload, throughput
from understudy import Runtime
from understudy.bench import workloads as sdk

WORKLOAD = Workload(
    name="fan_out",
    title="Fan-out: no-op calls of one durable parent",
    figure="calls_per_s",
    unit="calls",
    sizes=(100, 1_000, 10_000, 100_000),
)


def understudy(client: Runtime, size: int) -> Figures:
    return sdk.fan_out(client, size, quiet)


def bare_pipeline(parent: Parent, size: int) -> Figures:
    began = time.perf_counter()
    total = parent.fan_out(size)
    took = time.perf_counter() - began
    if total != size * (size - 1) // 2:
        raise AssertionError(f"a wrong result: {total}")
    return throughput(size, took)


def quiet(_done: int, _total: int) -> None:
    """Show no progress within a run, because showing it would be measured too."""
