"""The workloads: each drives a deployment through a client runtime and gives its figures."""

from __future__ import annotations

import itertools
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from understudy import Runtime
from understudy.errors import innermost

#: gets how much is done of how much; for a progress bar
Progress = Callable[[int, int], None]
Figures = dict[str, float]

#: of this process, and how many ids it has made
_PROCESS = secrets.token_hex(6)
_made = itertools.count(1)

#: no run of a workload takes longer, seconds
LIMIT_S = 600.0


def run_id(workload: str) -> str:
    """A fresh promise id, so that every run is a new call."""
    return f"bench-{workload}-{_PROCESS}-{next(_made)}"


def fan_out(client: Runtime, calls: int, progress: Progress) -> Figures:
    """One durable parent that makes `calls` no-op calls; checks the sum that comes back."""
    began = time.perf_counter()
    total = client.rpc(run_id("fan-out"), "fan_out", calls).result(LIMIT_S)
    took = time.perf_counter() - began
    _check(total, calls * (calls - 1) // 2)
    progress(calls, calls)
    return {"calls": calls, "seconds": took, "calls_per_s": calls / took}


def chain(client: Runtime, calls: int, progress: Progress) -> Figures:
    """`calls` chains client → A → B → C and back, one after the other."""
    latencies_ms: list[float] = []
    began = time.perf_counter()
    for number in range(calls):
        start = time.perf_counter()
        _check(client.rpc(run_id("chain"), "hop_a").result(LIMIT_S), 3)
        latencies_ms.append((time.perf_counter() - start) * 1000)
        progress(number + 1, calls)
    return _latencies(latencies_ms, time.perf_counter() - began)


def chains(client: Runtime, calls: int, progress: Progress, in_flight: int = 200) -> Figures:
    """`calls` chains of three, 200 of them at a time."""
    latencies_ms: list[float] = []

    async def one() -> None:
        start = time.perf_counter()
        _check(await client.rpc(run_id("chains"), "hop_a"), 3)
        latencies_ms.append((time.perf_counter() - start) * 1000)

    began = time.perf_counter()
    _at_once(one, calls, in_flight, progress)
    return _latencies(latencies_ms, time.perf_counter() - began)


def _at_once(
    call: Callable[[], Awaitable[None]], calls: int, in_flight: int, progress: Progress
) -> None:
    """`_in_flight`, with the first of its errors bare: an interrupt, or what a call raised."""
    try:
        trio.run(_in_flight, call, calls, in_flight, progress)
    except BaseExceptionGroup as group:
        raise innermost(group.subgroup(KeyboardInterrupt) or group) from None


async def _in_flight(
    call: Callable[[], Awaitable[None]], calls: int, in_flight: int, progress: Progress
) -> None:
    """Make `calls` calls, so many at a time."""
    numbers = iter(range(calls))
    done = itertools.count(1)

    async def caller() -> None:
        for _ in numbers:
            await call()
            progress(next(done), calls)

    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            for _ in range(min(in_flight, calls)):
                nursery.start_soon(caller)


def steps(client: Runtime, calls: int, progress: Progress) -> Figures:
    """`calls` stored local steps in one function: one after the other, then sharing commits."""
    figures: Figures = {"calls": calls}
    for name, together in (("steps_per_s", False), ("steps_together_per_s", True)):
        began = time.perf_counter()
        total = client.rpc(run_id("steps"), "steps", calls, together).result(LIMIT_S)
        took = time.perf_counter() - began
        _check(total, calls * (calls - 1) // 2)
        figures[name] = calls / took
        progress(calls, calls)
    return figures


def payload(client: Runtime, calls: int, progress: Progress, size: int = 65_536) -> Figures:
    """`calls` calls with 64 KiB there and back, 16 of them at a time."""
    data = secrets.token_bytes(size)

    async def one() -> None:
        _check(await client.rpc(run_id("payload"), "echo", data), data)

    began = time.perf_counter()
    _at_once(one, calls, 16, progress)
    took = time.perf_counter() - began
    mib = calls * size * 2 / 2**20
    return {"calls": calls, "seconds": took, "calls_per_s": calls / took, "mib_per_s": mib / took}


def _latencies(latencies_ms: list[float], took: float) -> Figures:
    cuts = statistics.quantiles(latencies_ms, n=100, method="inclusive")
    return {
        "calls": len(latencies_ms),
        "seconds": took,
        "calls_per_s": len(latencies_ms) / took,
        "p50_ms": cuts[49],
        "p90_ms": cuts[89],
        "p99_ms": cuts[98],
        "max_ms": max(latencies_ms),
    }


def _check(found: Any, expected: Any) -> None:
    if found != expected:
        raise AssertionError(f"a wrong result: {found!r} instead of {expected!r}")


#: name, function, how many calls by default
WORKLOADS: dict[str, tuple[Callable[[Runtime, int, Progress], Figures], int]] = {
    "fan-out": (fan_out, 10_000),
    "chain": (chain, 300),
    "chains": (chains, 2_000),
    "steps": (steps, 2_000),
    "payload": (payload, 500),
}
