"""The workloads: each makes calls through a client runtime and returns its figures."""

from __future__ import annotations

import itertools
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import trio

from understudy import Runtime
from understudy.errors import innermost

#: called with the number of calls done and that of all calls
Progress = Callable[[int, int], None]
#: name of a figure to its value
Figures = dict[str, float]

#: part of every id, so that two processes never make the same
_PROCESS: Final = secrets.token_hex(6)
_numbers: Final = itertools.count(1)

#: seconds that a run may take
LIMIT_S: Final = 600.0


class Workload(NamedTuple):
    """A workload that can be run by its name.

    Parameters
    ----------
    summary
        One sentence for ``--help``.
    run
        Makes so many calls, reports progress, and returns its figures.
    calls
        The default number of calls.
    """

    name: str
    summary: str
    run: Callable[[Runtime, int, Progress], Figures]
    calls: int


def run_id(workload: str) -> str:
    """Return a new promise id, so that every run is a new call."""
    return f"bench-{workload}-{_PROCESS}-{next(_numbers)}"


def fan_out(client: Runtime, calls: int, progress: Progress) -> Figures:
    """Call one function that makes `calls` empty calls; check the sum that it returns."""
    began = time.perf_counter()
    total = client.rpc(run_id("fan-out"), "fan_out", calls).result(LIMIT_S)
    took = time.perf_counter() - began
    _check(total, calls * (calls - 1) // 2)
    progress(calls, calls)
    return {"calls": calls, "seconds": took, "calls_per_s": calls / took}


def chain(client: Runtime, calls: int, progress: Progress) -> Figures:
    """Call `calls` chains of three functions, one after the other."""
    latencies_ms: list[float] = []
    began = time.perf_counter()
    for number in range(calls):
        start = time.perf_counter()
        _check(client.rpc(run_id("chain"), "hop_a").result(LIMIT_S), 3)
        latencies_ms.append((time.perf_counter() - start) * 1000)
        progress(number + 1, calls)
    return _latencies(latencies_ms, time.perf_counter() - began)


def chains(client: Runtime, calls: int, progress: Progress, in_flight: int = 200) -> Figures:
    """Call `calls` chains of three functions, 200 of them at a time."""
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
    """Run `_in_flight`; raise the first of its errors without the group around it.

    An interrupt comes before errors of calls.
    """
    try:
        trio.run(_in_flight, call, calls, in_flight, progress)
    except BaseExceptionGroup as group:
        raise innermost(group.subgroup(KeyboardInterrupt) or group) from None


async def _in_flight(
    call: Callable[[], Awaitable[None]], calls: int, in_flight: int, progress: Progress
) -> None:
    """Make `calls` calls, `in_flight` of them at a time."""
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
    """Run `calls` stored local steps in one function: first in order, then sharing commits."""
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
    """Make `calls` calls with 64 KiB as argument and as result, 16 of them at a time."""
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


WORKLOADS: Final = {
    workload.name: workload
    for workload in (
        Workload("fan-out", "Make many calls from one function.", fan_out, 10_000),
        Workload("chain", "Call chains of three, one by one.", chain, 300),
        Workload("chains", "Call chains of three, 200 at a time.", chains, 2_000),
        Workload("steps", "Store local steps of one function.", steps, 2_000),
        Workload("payload", "Send 64 KiB and get them back.", payload, 500),
    )
}
