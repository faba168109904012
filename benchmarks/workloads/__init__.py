"""The workloads, one file each: what is asked of the product, and what of the floor."""

from __future__ import annotations

from types import ModuleType

from benchmarks.harness import Workload
from benchmarks.workloads import (
    chain,
    chains,
    fan_out,
    growth,
    idle,
    memory,
    payloads,
    replay,
    sleeps,
    start,
    steps,
)

#: Each has WORKLOAD; `understudy(client, size)`, or `alone(size)`; and `floor(parent, size)` where
#: the floor can do it.
MODULES: dict[str, ModuleType] = {
    module.WORKLOAD.name: module
    for module in (fan_out, chain, chains, steps, payloads, replay, start, idle, growth, sleeps)
}
WORKLOADS: dict[str, Workload] = {
    **{name: module.WORKLOAD for name, module in MODULES.items()},
    # what is asked of an open subject's processes
    memory.WORKLOAD.name: memory.WORKLOAD,
}
