"""A broker is started on a store in which `size` functions sleep."""

from __future__ import annotations

import tempfile
import time
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
    empty = _opened(0)
    full = _opened(size)
    grown_mib = full["broker_mib"] - empty["broker_mib"]
    return {
        "sleeps": size,
        "bytes_per_sleep": grown_mib * 2**20 / size,
        "broker_mib": full["broker_mib"],
        "open_s": full["open_s"],
        "open_empty_s": empty["open_s"],
    }


def _opened(size: int) -> Figures:
    """Memory of a broker, and seconds from its start to its first answer."""
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as name:
        folder = Path(name)
        filling.sleeping(folder / "sleeps.db", size)
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
