"""Charts of results as SVG: bars on a log scale, latency percentiles, growth curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from benchmarks.harness import find
from benchmarks.report import number_and_unit, worded
from benchmarks.workloads import WORKLOADS

WIDTH: Final = 760
LEFT: Final = 190
RIGHT: Final = 130
ROW: Final = 26
HEAD: Final = 56
FOOT: Final = 52
INK: Final = "#1f2328"
#: Opacity of bars of subjects whose results are not on a disk when they are acknowledged.
PALE: Final = 0.4
FAINT: Final = "#d0d7de"
#: Colors that can also be told apart without seeing red or green (Okabe and Ito).
COLORS: Final = ("#0072b2", "#8c959f", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9")
FIRST: Final = ("understudy", "bare pipeline")
PERCENTILES: Final = (("p50_ms", "p50"), ("p90_ms", "p90"), ("p99_ms", "p99"))


class Svg:
    """An SVG picture that is being drawn."""

    def __init__(self, height: float, title: str, note: str) -> None:
        self.height = height
        self.parts: list[str] = []
        self.text(16, 26, title, size=16, weight="600")
        self.text(16, height - 14, note, size=11, fill="#57606a")
        self.title = title

    def text(
        self, x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", **more: str
    ) -> None:
        """Draw a text; `more` may contain `fill` and `weight`."""
        fill, weight = more.get("fill", INK), more.get("weight", "400")
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'fill="{fill}" font-weight="{weight}" paint-order="stroke" stroke="#ffffff" '
            f'stroke-width="3">{escape(text)}</text>'
        )

    def rect(
        self, x: float, y: float, width: float, height: float, fill: str, *, pale: bool = False
    ) -> None:
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{height:.1f}" '
            f'fill="{fill}" fill-opacity="{PALE if pale else 1}" rx="2"/>'
        )

    def line(self, points: Sequence[tuple[float, float]], stroke: str, width: float = 1) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="{width}"/>'
        )

    def dot(self, x: float, y: float, fill: str) -> None:
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{fill}"/>')

    def __str__(self) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height:.0f}" '
            f'width="{WIDTH}" height="{self.height:.0f}" role="img" '
            f'font-family="system-ui, sans-serif"><title>{escape(self.title)}</title>'
            f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(self.parts)}</svg>\n'
        )


def log_scale(
    low: float, high: float, start: float, end: float
) -> tuple[Callable[[float], float], list[float]]:
    """Return a function from values to positions between `start` and `end`, and its ticks."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)

    def at(value: float) -> float:
        return start + (math.log10(value) - first) / (last - first) * (end - start)

    return at, [10.0**power for power in range(first, last + 1)]


def subjects_of(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Return the subjects in the order of every chart: ours, the bare pipeline, others by name."""
    names = {entry["subject"] for entry in entries}
    return [*(n for n in FIRST if n in names), *sorted(names - set(FIRST))]


def color_of(subject: str, subjects: Sequence[str]) -> str:
    """Return the color of a subject: fixed for ours and the bare pipeline, else by position."""
    if subject in FIRST:
        return COLORS[FIRST.index(subject)]
    others = [name for name in subjects if name not in FIRST]
    return COLORS[2 + others.index(subject) % (len(COLORS) - 2)]


def synced(result: dict[str, Any], subject: str) -> bool:
    """Return whether a subject has results on the disk when it acknowledges them."""
    return bool(result["subjects"][subject]["synced"])


def note_of(result: dict[str, Any]) -> str:
    """Describe machine and commit in one line."""
    machine = result["machine"]
    load = result["load_average"]["before"][0]
    pale = "" if all(synced(result, name) for name in result["subjects"]) else " Pale: not durable."
    return (
        f"{result['measured_at'][:10]}, {machine['cores']} cores, "
        f"commit {result['versions']['commit']}, load before {load}. "
        f"Medians; thin lines from lowest to highest.{pale}"
    )


def bars(result: dict[str, Any], workload: str, size: int) -> Svg | None:
    """Draw one bar for each subject on a log scale; None if there is nothing to compare."""
    entries = [
        e
        for e in result["results"]
        if e["workload"] == workload and e["size"] == size and e["median"][e["figure"]] > 0
    ]
    if len(entries) < 2:
        return None
    order = subjects_of(entries)
    entries.sort(key=lambda e: order.index(e["subject"]))
    figure = entries[0]["figure"]
    height = HEAD + ROW * len(entries) + FOOT
    title = ", ".join(part for part in (WORKLOADS[workload].title, entries[0]["label"]) if part)
    better = "shorter is better" if entries[0]["lower_is_better"] else "longer is better"
    svg = Svg(height, f"{title} ({better})", note_of(result))
    low = min(e["lowest"][figure] for e in entries)
    at, ticks = log_scale(low / 2, max(e["highest"][figure] for e in entries), LEFT, WIDTH - RIGHT)
    bottom = HEAD + ROW * len(entries)
    for tick in ticks:
        svg.line([(at(tick), HEAD - 8), (at(tick), bottom)], FAINT)
        svg.text(at(tick), bottom + 16, f"{tick:,g}", anchor="middle", size=11)
    for number, entry in enumerate(entries):
        y = HEAD + ROW * number
        name = entry["subject"]
        value = entry["median"][figure]
        weight = "600" if name == FIRST[0] else "400"
        svg.text(LEFT - 10, y + 14, name, anchor="end", weight=weight)
        color, pale = color_of(name, order), not synced(result, name)
        svg.rect(LEFT, y + 2, at(value) - LEFT, ROW - 9, color, pale=pale)
        ends = [(at(entry[end][figure]), y + ROW / 2 - 2.5) for end in ("lowest", "highest")]
        svg.line(ends, INK)
        svg.text(
            max(at(value), ends[1][0]) + 8, y + 14, worded(figure, value, workload), weight=weight
        )
    return svg


def percentiles(result: dict[str, Any], workload: str) -> Svg | None:
    """Draw p50, p90 and p99 of each subject on a log scale of milliseconds."""
    entries = [
        e for e in result["results"] if e["workload"] == workload and "p99_ms" in e["median"]
    ]
    if not entries:
        return None
    order = subjects_of(entries)
    entries.sort(key=lambda e: order.index(e["subject"]))
    bottom = HEAD + ROW * len(entries)
    title = f"{WORKLOADS[workload].title}: latency in ms (further left is better)"
    svg = Svg(bottom + FOOT, title, note_of(result))
    values = [e["median"][name] for e in entries for name, _ in PERCENTILES]
    at, ticks = log_scale(min(values), max(values), LEFT, WIDTH - RIGHT)
    for tick in ticks:
        svg.line([(at(tick), HEAD - 8), (at(tick), bottom)], FAINT)
        svg.text(at(tick), bottom + 16, f"{tick:,g} ms", anchor="middle", size=11)
    for number, entry in enumerate(entries):
        y = HEAD + ROW * number + 10
        name = entry["subject"]
        color = color_of(name, order)
        median = entry["median"]
        points = [(at(median[figure]), y) for figure, _ in PERCENTILES]
        svg.text(LEFT - 10, y + 4, name, anchor="end", weight="600" if name == FIRST[0] else "400")
        svg.line(points, color, 3)
        for x, _ in points:
            svg.dot(x, y, color)
        said = " / ".join(f"{median[figure]:,.1f}" for figure, _ in PERCENTILES)
        svg.text(points[-1][0] + 10, y + 4, said, size=11)
    return svg


def curve(result: dict[str, Any], workload: str, figure: str) -> Svg | None:
    """Draw a figure by size on log scales, with a line for each subject with several sizes."""
    names = subjects_of([e for e in result["results"] if e["workload"] == workload])
    lines = {
        name: [e for e in find(result, workload, name) if e["size"] > 0 and figure in e["median"]]
        for name in names
    }
    lines = {name: entries for name, entries in lines.items() if len(entries) > 1}
    if not lines:
        return None
    entries = [e for line in lines.values() for e in line]
    height, top, bottom = 340, HEAD, 340 - FOOT - 14
    words = WORKLOADS[workload]
    unit = number_and_unit(figure, 0, workload)[1]
    by = "bytes" if words.unit == "bytes" else f"number of {words.unit}"
    svg = Svg(height, f"{words.title}: {unit} by {by}", note_of(result))
    at_x, ticks_x = log_scale(
        min(e["size"] for e in entries), max(e["size"] for e in entries), 80, WIDTH - RIGHT
    )
    values = [e[which][figure] for e in entries for which in ("lowest", "highest")]
    at_y, ticks_y = log_scale(min(values), max(values), bottom, top)
    for tick in ticks_x:
        svg.line([(at_x(tick), top), (at_x(tick), bottom)], FAINT)
        svg.text(at_x(tick), bottom + 16, f"{int(tick):,}", anchor="middle", size=11)
    for tick in ticks_y:
        svg.line([(80, at_y(tick)), (WIDTH - RIGHT, at_y(tick))], FAINT)
        svg.text(72, at_y(tick) + 4, f"{tick:,g}", anchor="end", size=11)
    for name, line in lines.items():
        color = color_of(name, names)
        points = [(at_x(e["size"]), at_y(e["median"][figure])) for e in line]
        svg.line(points, color, 2.5)
        for (x, y), entry in zip(points, line, strict=True):
            svg.dot(x, y, color)
            svg.line([(x, at_y(entry[end][figure])) for end in ("lowest", "highest")], INK)
        svg.text(points[-1][0] + 10, points[-1][1] + 4, name, fill=color, weight="600")
    return svg


def draw(result: dict[str, Any], folder: Path) -> list[Path]:
    """Draw every chart for which a result has figures; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, Svg | None] = {}
    for workload, size in dict.fromkeys((e["workload"], e["size"]) for e in result["results"]):
        pictures[f"{workload}-{size}" if size else workload] = bars(result, workload, size)
    for workload in ("chain", "chains"):
        pictures[f"{workload}-latency"] = percentiles(result, workload)
    pictures["growth-in-flight"] = curve(result, "fan_out", "calls_per_s")
    pictures["growth-history"] = curve(result, "growth", "calls_per_s")
    pictures["growth-replay"] = curve(result, "replay", "seconds")
    pictures["growth-payloads"] = curve(result, "payloads", "mib_per_s")
    written: list[Path] = []
    for name, svg in pictures.items():
        if svg is not None:
            path = folder / f"{name.replace('_', '-')}.svg"
            path.write_text(str(svg))
            written.append(path)
    return written
