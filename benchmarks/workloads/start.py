"""How long it takes to begin: the import, and `understudy dev` until a first result."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Figures, Workload
from benchmarks.ours import APP, Ours, client_of
from understudy.bench.workloads import LIMIT_S, run_id

#: fresh interpreters for each of the two imports
IMPORTS = 7
#: what nothing with these three can do without
BASE = "import trio, zmq, msgspec"

WORKLOAD = Workload(
    name="start",
    title="From `understudy dev` to the first result",
    figure="first_result_s",
    unit="",
    sizes=(0,),
    lower_is_better=True,
    alone=True,
)


def alone(_size: int) -> Figures:
    ours_ms: list[float] = []
    base_ms: list[float] = []
    for _ in range(IMPORTS):
        ours_ms.append(import_ms("import understudy"))
        base_ms.append(import_ms(BASE))
    import_, base = statistics.median(ours_ms), statistics.median(base_ms)
    return {
        "first_result_s": first_result_s(),
        "import_ms": import_,
        "import_base_ms": base,
        "import_ratio": import_ / base,
    }


def import_ms(statement: str) -> float:
    """What `statement` takes in a fresh interpreter, without that one's own start."""
    script = (
        "import time; began = time.perf_counter()\n"
        f"{statement}\nprint((time.perf_counter() - began) * 1000)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return float(done.stdout)


def first_result_s() -> float:
    """Seconds from the start of the program to the result of a call that waited for it."""
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as name:
        ours = Ours(Path(name))
        with client_of(ours.url) as client:
            began = time.perf_counter()
            ours.start("dev", "dev", APP, "--listen", ours.url, "--watch", name)
            try:
                client.rpc(run_id("start"), "noop", 1).result(LIMIT_S)
                return time.perf_counter() - began
            finally:
                ours.close()
