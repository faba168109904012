"""Start of a broker on a store in which `size` functions sleep.

Each function is a suspended task, its sleep, and a callback from one to the other. For
`bytes_per_timer` and `open_timers_s` the store has only the sleeps.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import host, prepared_stores
from benchmarks.deployment import PATIENCE_S, Deployment
from benchmarks.harness import Figures, Workload
from understudy import Runtime

#: Seconds after the first answer until memory is measured.
SETTLE_S = 1.0
WORKLOAD = Workload(
    name="sleeps",
    title="Pending sleeps: memory of the broker for each",
    figure="bytes_per_sleep",
    unit="sleeping functions",
    sizes=(100_000,),
    lower_is_better=True,
    alone=True,
    rounds_max=1,
)


def alone(size: int) -> Figures:
    empty = _opened(prepared_stores.sleeping, 0)
    timers = _opened(prepared_stores.timers, size)
    full = _opened(prepared_stores.sleeping, size)

    def bytes_each(figures: Figures) -> float:
        return (figures["broker_mib"] - empty["broker_mib"]) * 2**20 / size

    return {
        "sleeps": size,
        "bytes_per_sleep": bytes_each(full),
        "bytes_per_timer": bytes_each(timers),
        "broker_mib": full["broker_mib"],
        "open_s": full["open_s"],
        "open_timers_s": timers["open_s"],
        "open_empty_s": empty["open_s"],
    }


def _opened(fill: Callable[[Path, int], None], size: int) -> Figures:
    """Return the memory of a broker, and the seconds from its start to its first answer."""
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as name:
        folder = Path(name)
        fill(folder / "sleeps.db", size)
        deployment = Deployment(folder, folder / "sleeps.db")
        client = Runtime(group="bench-client", url=deployment.url, connect_timeout=PATIENCE_S)
        try:
            began = time.perf_counter()
            deployment.start_broker()
            client.groups()
            open_s = time.perf_counter() - began
            time.sleep(SETTLE_S)
            mib = host.rss_mib(deployment.processes["broker"].pid) or 0.0
        finally:
            client.stop()
            deployment.close()
    return {"open_s": open_s, "broker_mib": mib}
