"""Payloads: `size` bytes there and back, 16 calls at a time."""

from __future__ import annotations

import secrets
import time

from benchmarks.bare_pipeline.parent import Parent
from benchmarks.harness import Figures, Workload
from benchmarks.workloads.fan_out import quiet
from understudy import Runtime
from understudy.bench import workloads as sdk

IN_FLIGHT = 16
#: Bytes that a run moves each way, if that takes a sensible number of calls.
BYTES = 32 * 2**20
CALLS_MIN, CALLS_MAX = 32, 2_000
WORKLOAD = Workload(
    name="payloads",
    title=f"Payloads there and back, {IN_FLIGHT} in flight",
    figure="mib_per_s",
    unit="bytes",
    sizes=(1_024, 65_536, 1_048_576),
)


def calls_of(size: int) -> int:
    """Return the number of calls of a run."""
    return max(CALLS_MIN, min(CALLS_MAX, BYTES // size))


def understudy(client: Runtime, size: int) -> Figures:
    return sdk.payload(client, calls_of(size), quiet, size)


def bare_pipeline(parent: Parent, size: int) -> Figures:
    calls = calls_of(size)
    data = secrets.token_bytes(size)
    began = time.perf_counter()
    _, results = parent.windowed(calls, IN_FLIGHT, "echo", data)
    took = time.perf_counter() - began
    if any(result != data for result in results):
        raise AssertionError("a wrong result")
    mib = calls * size * 2 / 2**20
    return {"calls": calls, "seconds": took, "calls_per_s": calls / took, "mib_per_s": mib / took}
