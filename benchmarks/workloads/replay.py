"""Replay: a function with `size` stored steps goes on at a node that has never run it."""

from __future__ import annotations

import time

from benchmarks.deployment import deployed, until, wait_for_nodes
from benchmarks.harness import Figures, Workload
from understudy import CommandError, Runtime
from understudy.bench.workloads import LIMIT_S, run_id

WORKLOAD = Workload(
    name="replay",
    title="Replay on a cold node, until the result is there",
    figure="seconds",
    unit="steps",
    sizes=(1_000, 10_000),
    lower_is_better=True,
    alone=True,
)


def alone(size: int) -> Figures:
    with deployed(nodes=1) as (deployment, client):
        id = run_id("replay")
        handle = client.rpc(id, "remembers", size)
        gate = f"{id}.gate"
        until(lambda: _exists(client, gate), "all steps")
        until(
            lambda: bool(deployment.ask("tasks", "get", id)["state"] == "suspended"), "a suspension"
        )
        deployment.stop("node-1")
        wait_for_nodes(client, 0)
        deployment.start_node()
        wait_for_nodes(client, 1)
        began = time.perf_counter()
        client.promises.resolve(gate)
        total = handle.result(LIMIT_S)
        took = time.perf_counter() - began
    if total != size * (size - 1) // 2:
        raise AssertionError(f"a wrong result: {total}")
    return {"steps": size, "seconds": took, "us_per_step": took / size * 1e6}


def _exists(client: Runtime, id: str) -> bool:
    try:
        client.promises.get(id)
    except CommandError:
        return False
    return True
