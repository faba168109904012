"""The common part of the peers' programs: reads requests for runs on stdin, answers on stdout.

It uses only the standard library, because it runs in the peers' environments.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.harness import Figures, latencies, throughput

IN_FLIGHT = 200


def serve(workloads: Mapping[str, Callable[[int], Figures]]) -> None:
    """Answer each line ``{"workload": ..., "size": ...}`` with one ``{"figures": ...}``."""
    # Libraries print to stdout; redirect that to stderr, so that it does not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        run = workloads.get(asked["workload"])
        figures = run(asked["size"]) if run is not None else None
        print(json.dumps({"figures": figures}), file=answers, flush=True)


def fan_out_of(call: Callable[[int], int]) -> Callable[[int], Figures]:
    """Return a workload that times `call`: it makes n no-op calls and returns the sum."""

    def run(size: int) -> Figures:
        began = time.perf_counter()
        total = call(size)
        took_s = time.perf_counter() - began
        check(total, size * (size - 1) // 2)
        return throughput(size, took_s)

    return run


def chain_of(call: Callable[[], int]) -> Callable[[int], Figures]:
    """Return a workload that times `call`, a chain of three, again and again."""

    def run(size: int) -> Figures:
        times_ms: list[float] = []
        began = time.perf_counter()
        for _ in range(size):
            start = time.perf_counter()
            check(call(), 3)
            times_ms.append((time.perf_counter() - start) * 1000)
        return latencies(times_ms, time.perf_counter() - began)

    return run


def chains_of(start: Callable[[], Any], wait: Callable[[Any], int]) -> Callable[[int], Figures]:
    """Return a workload that times chains of three, 200 in flight; it waits for the oldest."""

    def run(size: int) -> Figures:
        flying: deque[tuple[float, Any]] = deque()
        times_ms: list[float] = []
        began = time.perf_counter()
        started = 0
        while len(times_ms) < size:
            while started < size and len(flying) < IN_FLIGHT:
                flying.append((time.perf_counter(), start()))
                started += 1
            at, handle = flying.popleft()
            check(wait(handle), 3)
            times_ms.append((time.perf_counter() - at) * 1000)
        return latencies(times_ms, time.perf_counter() - began)

    return run


def check(found: Any, expected: Any) -> None:
    if found != expected:
        raise AssertionError(f"a wrong result: {found!r} instead of {expected!r}")
