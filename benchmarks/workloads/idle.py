"""The cost of a broker, and of a node, while `size` nodes are connected and idle."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import host
from benchmarks.deployment import PATIENCE_S, ROOT, deployed, until
from benchmarks.harness import Figures, Workload
from understudy.bench.deployment import node_count
from understudy.bench.runner import GROUP

#: Seconds for which processor time is measured: two heartbeats of an idle peer, because a broker
#: may sleep all the time between two.
WATCH_S = 15.0
#: Seconds for start-up work to end.
SETTLE_S = 2.0

WORKLOAD = Workload(
    name="idle",
    title="Idle: the broker's processor time",
    figure="broker_cpu_percent",
    unit="nodes",
    sizes=(1, 1_000),
    lower_is_better=True,
    alone=True,
    rounds_max=1,
)


def alone(size: int) -> Figures | None:
    if sys.platform != "linux":
        return None
    with deployed(nodes=1) as (deployment, client), idle_nodes(deployment.url, size - 1):
        until(lambda: node_count(client, GROUP) == size, f"{size} nodes", every_s=0.5)
        time.sleep(SETTLE_S)
        pids = {name.partition("-")[0]: p.pid for name, p in deployment.processes.items()}
        before = {name: host.cpu_s(pid) or 0.0 for name, pid in pids.items()}
        time.sleep(WATCH_S)
        figures: Figures = {}
        for name, pid in pids.items():
            used = (host.cpu_s(pid) or 0.0) - before[name]
            figures[f"{name}_cpu_percent"] = used / WATCH_S * 100
            figures[f"{name}_mib"] = host.rss_mib(pid) or 0.0
        return figures


@contextmanager
def idle_nodes(url: str, size: int) -> Iterator[None]:
    """Start `size` more nodes in one process, which only heartbeat."""
    if not size:
        yield
        return
    command = [sys.executable, "-m", "benchmarks.idle_nodes", url, str(size)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
