"""Runs of a workload, and the medians of their figures."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from understudy import Runtime
from understudy.bench.deployment import START_S, wait_for_nodes
from understudy.bench.workloads import WORKLOADS, Figures, Progress

GROUP: Final = "bench"
WARM_UP_CALLS: Final = 50


@contextmanager
def client_of(url: str) -> Iterator[Runtime]:
    """Open a client whose calls go to the nodes of the bench group."""
    # The broker may have been started a moment ago, and is slow to start on a busy machine.
    runtime = Runtime(group="bench-client", url=url, connect_timeout=START_S)
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
    """Run a workload several times, after a short warm-up.

    Parameters
    ----------
    calls
        Calls of each run; None for the workload's default.
    nodes
        Nodes to wait for.
    repeat
        Number of runs.

    Returns
    -------
    The figures of each run.
    """
    found = WORKLOADS[workload]
    wait_for_nodes(client, GROUP, nodes)
    calls = calls or found.calls
    found.run(client, min(calls, WARM_UP_CALLS), _ignore_progress)
    return [found.run(client, calls, progress) for _ in range(repeat)]


def medians(runs: list[Figures]) -> Figures:
    """Return the median of each figure over the runs."""
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _ignore_progress(_done: int, _total: int) -> None:
    return None
