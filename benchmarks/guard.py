"""Speed that was reached is kept: the ratio to the floor, against a recorded one.

Ours and the floor are measured in turns, in one run, on one machine; the ratio of the two says how
much of what the parts can do is left. Where other work takes cores it does not: ours uses more of
them than the floor, so then nothing is recorded, and nothing said to be slower. It is compared with
the ratio in ``guard.json``, which is written on purpose (`make bench-guard ARGS=--record`) and
committed.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.harness import Harness, find
from benchmarks.machine import machine, versions
from benchmarks.subjects import Floor, Understudy
from benchmarks.workloads import WORKLOADS

PATH: Final = Path(__file__).with_name("guard.json")
#: of the recorded ratio; below it the guard fails
KEPT: Final = 0.8
ROUNDS: Final = 5
#: quick ones: a change that costs shows in each of them
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
    """Ours beside the floor."""
    workloads = [(WORKLOADS[name], sizes) for name, sizes in SIZES.items()]
    return Harness(workloads, [[Understudy(), Floor()]], warm_up=WARM_UP)


def ratios(result: dict[str, Any]) -> Ratios:
    """Ours to the floor: the median of the ratios of the rounds; above is better."""
    found: Ratios = {}
    for workload in SIZES:
        ours, floors = (list(find(result, workload, name)) for name in ("understudy", "floor"))
        for mine, its in zip(ours, floors, strict=True):
            figure = mine["figure"]
            pairs = zip(mine["runs"], its["runs"], strict=True)
            each = [
                floor[figure] / run[figure]
                if mine["lower_is_better"]
                else run[figure] / floor[figure]
                for run, floor in pairs
            ]
            found[f"{workload} {mine['label']}"] = statistics.median(each)
    return found


def record(found: Ratios, path: Path = PATH) -> None:
    """Make `found` what later runs are held to."""
    recorded = {
        "recorded_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": versions(),
        "machine": machine(),
        "ratio_to_floor": {name: round(value, 4) for name, value in found.items()},
    }
    path.write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")


def recorded(path: Path = PATH) -> Ratios:
    """What is on record; raises FileNotFoundError."""
    ratios: Ratios = json.loads(path.read_text())["ratio_to_floor"]
    return ratios


def losses(found: Ratios, before: Ratios) -> list[str]:
    """What has become slower than it may, in words; and what is no longer measured."""
    lines: list[str] = []
    for name, ratio in before.items():
        now = found.get(name)
        if now is None:
            lines.append(f"{name}: recorded, and not measured")
        elif now < KEPT * ratio:
            lines.append(
                f"{name}: {now:.3f} of the floor (median of the rounds' ratios), {now / ratio:.0%} "
                f"of the recorded {ratio:.3f}"
            )
    return lines
