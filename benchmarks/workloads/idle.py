"""What a broker costs while `size` nodes are connected and nothing happens; and a node."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import machine
from benchmarks.harness import Figures, Workload
from benchmarks.ours import PATIENCE_S, ROOT, deployed, until
from understudy.bench.deployment import node_count
from understudy.bench.runner import GROUP

#: how long processor time is watched: two beats of a peer that has nothing to do, between which a
#: broker may sleep all the time
WATCH_S = 15.0
#: how long start-up work is given to end
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
    with deployed(nodes=1) as (ours, client), crowd(ours.url, size - 1):
        until(lambda: node_count(client, GROUP) == size, f"{size} nodes", every_s=0.5)
        time.sleep(SETTLE_S)
        pids = {name.partition("-")[0]: p.pid for name, p in ours.processes.items()}
        before = {name: machine.cpu_s(pid) or 0.0 for name, pid in pids.items()}
        time.sleep(WATCH_S)
        figures: Figures = {}
        for name, pid in pids.items():
            used = (machine.cpu_s(pid) or 0.0) - before[name]
            figures[f"{name}_cpu_percent"] = used / WATCH_S * 100
            figures[f"{name}_mib"] = machine.rss_mib(pid) or 0.0
        return figures


@contextmanager
def crowd(url: str, size: int) -> Iterator[None]:
    """`size` more nodes, which only give signs of life, in one process."""
    if not size:
        yield
        return
    command = [sys.executable, "-m", "benchmarks.crowd", url, str(size)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
