"""Start: the time of the import, and of `understudy dev` until a first result."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.deployment import APP, Deployment, client_of
from benchmarks.harness import Figures, Workload
from understudy.bench.workloads import LIMIT_S, run_id

#: Fresh interpreters for each of the two imports.
IMPORTS = 7
#: The import of the three main libraries, which is the least that our import can take.
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
    """Return the time of a statement in a fresh interpreter, without the interpreter's start."""
    script = (
        "import time; began = time.perf_counter()\n"
        f"{statement}\nprint((time.perf_counter() - began) * 1000)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return float(done.stdout)


def first_result_s() -> float:
    """Return the seconds from the start of the program to the result of a call."""
    with tempfile.TemporaryDirectory(prefix="understudy-bench-") as name:
        deployment = Deployment(Path(name))
        with client_of(deployment.url) as client:
            began = time.perf_counter()
            deployment.start("dev", "dev", APP, "--listen", deployment.url, "--watch", name)
            try:
                client.rpc(run_id("start"), "noop", 1).result(LIMIT_S)
                return time.perf_counter() - began
            finally:
                deployment.close()
