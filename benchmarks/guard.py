"""The guard against lost speed: compares the ratios to the bare pipeline with recorded ones.

Understudy and the bare pipeline are measured in turns, in one run, on one machine, so their ratio
says more about the program than about the machine. It does not if other work takes cores, because
understudy uses more of them than the bare pipeline. In that case the guard records nothing and
reports nothing as slower. The recorded ratios are in ``guard.json``. They are only written on
purpose (`make bench-guard ARGS=--record`), and committed.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.harness import Harness, find
from benchmarks.host import host, versions
from benchmarks.subjects import BarePipeline, Understudy
from benchmarks.workloads import WORKLOADS

PATH: Final = Path(__file__).with_name("guard.json")
#: The share of a recorded ratio below which the guard fails.
KEPT: Final = 0.8
ROUNDS: Final = 5
#: Sizes that are quick to measure, and large enough to show a loss.
SIZES: Final = {
    "fan_out": (10_000,),
    "chain": (200,),
    "chains": (1_000,),
    "steps": (1_000,),
    "payloads": (65_536,),
}
WARM_UP: Final = {"fan_out": 2_000, "chain": 20, "chains": 200, "steps": 100}

Ratios = dict[str, float]


def harness() -> Harness:
    """Make a harness with understudy and the bare pipeline."""
    workloads = [(WORKLOADS[name], sizes) for name, sizes in SIZES.items()]
    return Harness(workloads, [[Understudy(), BarePipeline()]], warm_up=WARM_UP)


def ratios(result: dict[str, Any]) -> Ratios:
    """Return the ratios of understudy to the bare pipeline: medians of the rounds' ratios.

    A higher ratio is better.
    """
    found: Ratios = {}
    for workload in SIZES:
        ours, floors = (
            list(find(result, workload, name)) for name in ("understudy", "bare pipeline")
        )
        for mine, its in zip(ours, floors, strict=True):
            figure = mine["figure"]
            pairs = zip(mine["runs"], its["runs"], strict=True)
            each = [
                base[figure] / run[figure]
                if mine["lower_is_better"]
                else run[figure] / base[figure]
                for run, base in pairs
            ]
            found[f"{workload} {mine['label']}"] = statistics.median(each)
    return found


def record(found: Ratios, path: Path = PATH) -> None:
    """Record ratios for later runs to be compared with."""
    recorded = {
        "recorded_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": versions(),
        "machine": host(),
        "ratio_to_bare_pipeline": {name: round(value, 4) for name, value in found.items()},
    }
    path.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")


def recorded(path: Path = PATH) -> Ratios:
    """Return the recorded ratios; raises FileNotFoundError if there are none."""
    ratios: Ratios = json.loads(path.read_text())["ratio_to_bare_pipeline"]
    return ratios


def losses(found: Ratios, before: Ratios) -> list[str]:
    """List the ratios that are too low, and those that are no longer measured, in words."""
    lines: list[str] = []
    for name, ratio in before.items():
        now = found.get(name)
        if now is None:
            lines.append(f"{name}: recorded, but not measured")
        elif now < KEPT * ratio:
            lines.append(
                f"{name}: {now:.3f} of the bare pipeline (median of the rounds' ratios), "
                f"{now / ratio:.0%} of the recorded {ratio:.3f}"
            )
    return lines
