"""Fan-out of 10,000 calls with `size` settled promises in the store."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import prepared_stores
from benchmarks.deployment import deployed
from benchmarks.harness import Figures, Workload
from benchmarks.workloads.fan_out import quiet
from understudy.bench import workloads as sdk

CALLS = 10_000
#: Runs with one store. The best one counts, because the first ones also warm caches.
RUNS = 3
WORKLOAD = Workload(
    name="growth",
    title=f"Fan-out of {CALLS:,} calls with history in the store",
    figure="calls_per_s",
    unit="settled promises",
    sizes=(0, 100_000, 1_000_000),
    alone=True,
    rounds_max=1,
)


def alone(size: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as name:
        store = Path(name) / "grown.db"
        prepared_stores.settled(store, size)
        bytes_ = store.stat().st_size
        with deployed(nodes=2, store=store) as (_, client):
            sdk.fan_out(client, 100, quiet)
            runs = [sdk.fan_out(client, CALLS, quiet) for _ in range(RUNS)]
    best = max(runs, key=lambda run: run["calls_per_s"])
    return {"settled": size, "store_mib": bytes_ / 2**20, **best}
