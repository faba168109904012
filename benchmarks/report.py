"""Results as tables for readers."""

from __future__ import annotations

import sys
from typing import Any, Final

from rich.console import Console, JustifyMethod
from rich.table import Table

from benchmarks.harness import BARE_PIPELINE

#: Unit and digits after the point, by the end of a figure's name; the longest match counts.
UNITS = {
    "calls_per_s": ("calls/s", 0),
    "per_s": ("/s", 0),
    "mib_per_s": ("MiB/s", 1),
    "ms": ("ms", 2),
    "mib": ("MiB", 1),
    "percent": ("%", 2),
    "bytes_per_sleep": ("bytes each", 0),
    "bytes_per_timer": ("bytes", 0),
    "us_per_step": ("µs/step", 1),
    "us": ("µs", 1),
    "wal_bytes": ("bytes", 0),
    "ratio": ("×", 2),
    "s": ("s", 3),
    "seconds": ("s", 3),
}
#: Figures that are shown beside the one that counts.
BESIDE = (
    "p50_ms",
    "p99_ms",
    "steps_together_per_s",
    "open_s",
    "import_ratio",
    "broker_mib",
    *("server_mib", "bytes_per_timer", "open_timers_s"),
    *("processor_us", "database_us", "wal_bytes"),
)
WIDTH = 200
#: headings of the table, and to which side their cells are set
_COLUMNS: Final[tuple[tuple[str, JustifyMethod], ...]] = (
    ("workload", "left"),
    ("", "right"),
    ("subject", "left"),
    ("median", "right"),
    ("lowest", "right"),
    ("highest", "right"),
    ("ratio", "right"),
    ("", "left"),
)


def number_and_unit(name: str, value: float, workload: str = "") -> tuple[str, str]:
    """Return a value of the figure `name` as text, and its unit, which may depend on `workload`."""
    end = _unit_end(name)
    unit, digits = UNITS[end] if end else ("", 2)
    if unit == "calls/s" and workload in ("chain", "chains"):
        unit = "chains/s"
    return f"{value:,.{digits}f}", unit


def worded(name: str, value: float, workload: str = "") -> str:
    """Return value and unit as one text."""
    return " ".join(number_and_unit(name, value, workload)).strip()


def beside(entry: dict[str, Any]) -> str:
    """Return the other figures worth showing, with their names."""
    median = entry["median"]
    said: list[str] = []
    for name in BESIDE:
        if name in median and name != entry["figure"]:
            plain = name.removesuffix(f"_{_unit_end(name)}").replace("_", " ")
            said.append(f"{plain} {worded(name, median[name])}")
    return ", ".join(said)


def _unit_end(name: str) -> str:
    ends = [end for end in UNITS if name == end or name.endswith(f"_{end}")]
    return max(ends, key=len, default="")


def ratio(entry: dict[str, Any], other: dict[str, Any]) -> float:
    """Return how many times as good `entry` is as `other`; more than 1 is better."""
    name = entry["figure"]
    ours, theirs = entry["median"][name], other["median"][name]
    if not ours or not theirs:
        return 0.0
    return float(theirs / ours if entry["lower_is_better"] else ours / theirs)


def ratio_worded(value: float) -> str:
    """Return a ratio as text with two significant digits."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def rounds_of(result: dict[str, Any]) -> str:
    """Return the number of rounds in words."""
    rounds = result["rounds"]
    return "1 round" if rounds == 1 else f"{rounds} rounds"


def show(result: dict[str, Any], console: Console | None = None) -> None:
    """Print the table of a result, and the machine that it comes from."""
    console = console or _console()
    table = Table(box=None, title_justify="left", pad_edge=False)
    for heading, justify in _COLUMNS:
        table.add_column(heading, justify=justify, no_wrap=True)
    previous = None
    for entry in ordered(result):
        key = (entry["workload"], entry["size"])
        if previous is not None and key != previous:
            table.add_section()
        title = (entry["workload"], entry["label"]) if key != previous else ("", "")
        previous = key
        table.add_row(*title, entry["subject"], *_cells(result, entry))
    console.print(table)
    for name, why in result["absent"].items():
        console.print(f"without {name}: {why}", highlight=False)
    machine = result["machine"]
    reference = reference_of(result)
    if any(entry["subject"] == reference for entry in result["results"]):
        name = "the bare pipeline" if reference == BARE_PIPELINE else reference
        console.print(f"ratio: to {name}; more than 1 is faster, or takes less")
    console.print(
        f"\n{rounds_of(result)} in {result['seconds']:.0f} s on {machine['cores']} cores "
        f"({machine['processor']}), Python {result['versions']['python']}, "
        f"{result['versions']['commit']}; a synced write of 4 KiB takes "
        f"{machine['sync_of_4_kib_ms']} ms; load before {result['load_average']['before'][0]}",
        highlight=False,
    )


def _console() -> Console:
    """Make a console that is as wide as the table if the output is no terminal."""
    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


def _cells(result: dict[str, Any], entry: dict[str, Any]) -> list[str]:
    name = entry["figure"]
    figures = [
        worded(name, entry[which][name], entry["workload"])
        for which in ("median", "lowest", "highest")
    ]
    return [*figures, ratio_cell(result, entry), beside(entry)]


def reference_of(result: dict[str, Any]) -> str:
    """Return the subject that the others are compared with."""
    return str(result.get("reference", BARE_PIPELINE))


def ratio_cell(result: dict[str, Any], entry: dict[str, Any]) -> str:
    """Return the ratio of an entry to that of the reference, as text; empty if there is none."""
    reference = reference_of(result)
    others = [other for other in same(result, entry) if other["subject"] == reference]
    if not others or entry["subject"] == reference:
        return ""
    return ratio_worded(ratio(entry, others[0]))


def ordered(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries in the order of measuring, those of one workload and size together."""
    keys = list(dict.fromkeys((e["workload"], e["size"]) for e in result["results"]))
    return sorted(result["results"], key=lambda e: keys.index((e["workload"], e["size"])))


def same(result: dict[str, Any], entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of the same workload and size."""
    key = (entry["workload"], entry["size"])
    return [other for other in result["results"] if (other["workload"], other["size"]) == key]
