"""Runs a workload a number of times and gives the median of each figure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager

from understudy import Runtime
from understudy.bench.deployment import wait_for_nodes
from understudy.bench.workloads import WORKLOADS, Figures, Progress

GROUP = "bench"
WARM_UP_CALLS = 50


@contextmanager
def client_of(url: str) -> Iterator[Runtime]:
    """A client whose calls go to the nodes of the bench group."""
    runtime = Runtime(group="bench-client", url=url)
    try:
        yield runtime.options(target=GROUP)
    finally:
        runtime.stop()


def measure(
    client: Runtime,
    workload: str,
    *,
    calls: int | None,
    nodes: int,
    repeat: int,
    progress: Progress,
) -> list[Figures]:
    """Figures of each of `repeat` runs, after one short warm-up."""
    run, default_calls = WORKLOADS[workload]
    wait_for_nodes(client, GROUP, nodes)
    calls = calls or default_calls
    run(client, min(calls, WARM_UP_CALLS), _no_progress)
    return [run(client, calls, progress) for _ in range(repeat)]


def medians(runs: list[Figures]) -> Figures:
    """The median of each figure over the runs."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _no_progress(_done: int, _total: int) -> None:
    return None
