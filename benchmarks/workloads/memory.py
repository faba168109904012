"""Resident memory after the other workloads; runs nothing itself."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import host
from benchmarks.harness import Figures, Workload

WORKLOAD = Workload(
    name="memory",
    title="Resident memory of all processes, after the work",
    figure="all_mib",
    unit="",
    sizes=(0,),
    lower_is_better=True,
)


def of(servers: Sequence[int], workers: Sequence[int]) -> Figures | None:
    """Return the memory of processes and their descendants; None if the system does not tell."""
    server_mib = [host.tree_mib(pid) for pid in servers]
    worker_mib = [host.tree_mib(pid) for pid in workers]
    known = [mib for mib in (*server_mib, *worker_mib) if mib is not None]
    if len(known) < len(servers) + len(workers):
        return None
    server = sum(known[: len(servers)])
    return {
        "all_mib": sum(known),
        "server_mib": server,
        "workers_mib": sum(known) - server,
    }
