"""The workloads, one file each: for the product, and for the bare pipeline."""

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

#: Each module has WORKLOAD, and `understudy(client, size)` or `alone(size)`. It has
#: `bare_pipeline(parent, size)` too if the bare pipeline supports the workload.
MODULES: dict[str, ModuleType] = {
    module.WORKLOAD.name: module
    for module in (fan_out, chain, chains, steps, payloads, replay, start, idle, growth, sleeps)
}
WORKLOADS: dict[str, Workload] = {
    **{name: module.WORKLOAD for name, module in MODULES.items()},
    # Measured on the processes of an open subject.
    memory.WORKLOAD.name: memory.WORKLOAD,
}
