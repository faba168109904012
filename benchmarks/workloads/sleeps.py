"""A broker is started on a store in which `size` functions sleep.

Each is a suspended task, its sleep, and a callback from one to the other; `bytes_per_timer` and
`open_timers_s` are what the sleeps alone take.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import filling, machine
from benchmarks.harness import Figures, Workload
from benchmarks.ours import PATIENCE_S, Ours
from understudy import Runtime

#: after the first answer, until memory is looked at
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
    empty = _opened(filling.sleeping, 0)
    timers = _opened(filling.timers, size)
    full = _opened(filling.sleeping, size)

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
    """Memory of a broker, and seconds from its start to its first answer."""
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as name:
        folder = Path(name)
        fill(folder / "sleeps.db", size)
        ours = Ours(folder, folder / "sleeps.db")
        client = Runtime(group="bench-client", url=ours.url, connect_timeout=PATIENCE_S)
        try:
            began = time.perf_counter()
            ours.start_broker()
            client.groups()
            open_s = time.perf_counter() - began
            time.sleep(SETTLE_S)
            mib = machine.rss_mib(ours.processes["broker"].pid) or 0.0
        finally:
            client.stop()
            ours.close()
    return {"open_s": open_s, "broker_mib": mib}
