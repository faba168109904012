"""Chains of three calls, 200 of them in flight."""

from __future__ import annotations

from benchmarks.bare_pipeline.parent import Parent
from benchmarks.harness import Figures, Workload
from benchmarks.workloads.chain import bare_chains
from benchmarks.workloads.fan_out import quiet
from understudy import Runtime
from understudy.bench import workloads as sdk

IN_FLIGHT = 200
WORKLOAD = Workload(
    name="chains",
    title=f"Chains of three calls, {IN_FLIGHT} in flight",
    figure="calls_per_s",
    unit="chains",
    sizes=(2_000,),
)


def understudy(client: Runtime, size: int) -> Figures:
    return sdk.chains(client, size, quiet, IN_FLIGHT)


def bare_pipeline(parent: Parent, size: int) -> Figures:
    return bare_chains(parent, size, IN_FLIGHT)
