"""Chains of three calls, client → A → B → C and back, one after the other."""

from __future__ import annotations

import time

from benchmarks.bare_pipeline.parent import Parent
from benchmarks.harness import Figures, Workload, latencies
from benchmarks.workloads.fan_out import quiet
from understudy import Runtime
from understudy.bench import workloads as sdk

WORKLOAD = Workload(
    name="chain",
    title="Chain of three calls, alone",
    figure="p50_ms",
    unit="chains",
    sizes=(300,),
    lower_is_better=True,
)


def understudy(client: Runtime, size: int) -> Figures:
    return sdk.chain(client, size, quiet)


def bare_pipeline(parent: Parent, size: int) -> Figures:
    return bare_chains(parent, size, 1)


def bare_chains(parent: Parent, size: int, window: int) -> Figures:
    began = time.perf_counter()
    values_ms, results = parent.windowed(size, window, "hop_a")
    took = time.perf_counter() - began
    if results != [3] * size:
        raise AssertionError("a wrong result")
    return latencies(values_ms, took)
