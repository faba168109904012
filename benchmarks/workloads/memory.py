"""What is resident after the other workloads; nothing is done."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import machine
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
    """Of these processes with all that they have started; None where the system does not say."""
    server_mib = [machine.tree_mib(pid) for pid in servers]
    worker_mib = [machine.tree_mib(pid) for pid in workers]
    known = [mib for mib in (*server_mib, *worker_mib) if mib is not None]
    if len(known) < len(servers) + len(workers):
        return None
    server = sum(known[: len(servers)])
    return {
        "all_mib": sum(known),
        "server_mib": server,
        "workers_mib": sum(known) - server,
    }
