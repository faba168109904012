"""Stored local steps of one function: each waits for its own commit, then all share commits."""

from __future__ import annotations

import time

from benchmarks.bare_pipeline.parent import Parent
from benchmarks.harness import Figures, Workload
from benchmarks.workloads.fan_out import quiet
from understudy import Runtime
from understudy.bench import workloads as sdk

WORKLOAD = Workload(
    name="steps",
    title="Stored local steps, one after the other",
    figure="steps_per_s",
    unit="steps",
    sizes=(10_000,),
)


def understudy(client: Runtime, size: int) -> Figures:
    return sdk.steps(client, size, quiet)


def bare_pipeline(parent: Parent, size: int) -> Figures:
    figures: Figures = {"calls": size}
    for name, together in (("steps_per_s", False), ("steps_together_per_s", True)):
        began = time.perf_counter()
        parent.steps(size, together)
        figures[name] = size / (time.perf_counter() - began)
    return figures
