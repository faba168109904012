"""Publishing of results: writes tables between the marks of a page, and charts beside it.

A mark is ``<!-- figures NAME -->``. The text from there to ``<!-- end -->`` is replaced; the rest
of the page is left as it is.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, Final

from benchmarks import charts, profile
from benchmarks.host import BUSY_MAX
from benchmarks.report import (
    beside,
    number_and_unit,
    ordered,
    ratio_cell,
    rounds_of,
    worded,
)

#: The mark of the profile.
PROFILE: Final = "profile"
PAGE: Final = Path(__file__).parent.parent / "docs" / "performance.md"
#: Load per core above which the machine was busy with other work. It is used for results that do
#: not say how many cores other work used.
LOAD_MAX: Final = 0.5
#: The charts of a result that the page shows, in this order.
SHOWN: Final = {
    "ours": (
        *("fan-out-10000", "growth-in-flight", "chain-latency", "chains-latency"),
        *("growth-payloads", "growth-replay", "growth-history"),
    ),
    "peers": ("fan-out", "chain-latency", "chains", "memory"),
    "brokers": (),
}


def publish(name: str, result: dict[str, Any], page: Path = PAGE) -> list[Path]:
    """Write a result at the mark `name` of a page; return the charts that were drawn.

    Raises
    ------
    ValueError
        The page has no such mark.
    """
    text = _marked(name, page)
    folder = page.with_suffix("")
    drawn = _charts(name, result, folder)
    links = "\n\n".join(f"![{_title(path)}]({folder.name}/{path.name})" for path in drawn)
    body = "\n\n".join(part for part in (words(result), table(result), links) if part)
    page.write_text(_mark(name).sub(lambda found: f"{found[1]}\n{body}\n\n{found[2]}", text))
    return drawn


def publish_profile(result: dict[str, Any], page: Path = PAGE) -> None:
    """Write a profile at its mark in a page; raises as `publish` does."""
    text = _marked(PROFILE, page)
    lines = [measured(result)]
    if busy(result):
        lines.append(
            f"{busy(result)} Stages are processor time, which this hardly disturbs; the wall time, "
            "the cores in use and the sync say nothing about a quiet machine."
        )
    body = "\n\n".join([*lines, profile.markdown(result)])
    page.write_text(_mark(PROFILE).sub(lambda found: f"{found[1]}\n{body}\n\n{found[2]}", text))


def _mark(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- figures {name} -->\n).*?(<!-- end -->)", re.DOTALL)


def _marked(name: str, page: Path) -> str:
    """Return the text of a page, after checking that it has this mark."""
    text = page.read_text()
    if not _mark(name).search(text):
        raise ValueError(f"{page} has no mark '<!-- figures {name} -->'")
    return text


def measured(result: dict[str, Any]) -> str:
    """Say when a result was measured, and on which machine."""
    machine, versions = result["machine"], result["versions"]
    parts = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "commit")
    return (
        f"Measured {result['measured_at'][:10]} at commit `{versions['commit']}`, "
        f"{rounds_of(result)}: {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory_gib']} GiB, {machine['file_system']}, where a synced write of 4 KiB "
        f"takes {machine['sync_of_4_kib_ms']} ms; {parts}."
    )


def busy(result: dict[str, Any]) -> str:
    """Return a warning if other work ran at the same time; otherwise nothing."""
    used = result.get("busy_cores_before")
    if used is not None:
        if used <= BUSY_MAX:
            return ""
        return f"**The machine was busy: other work used {used:.1f} cores before the run.**"
    before = result["load_average"]["before"][0]
    if before <= LOAD_MAX * result["machine"]["cores"]:
        return ""
    return f"**The machine was busy with other work (load {before} before the run).**"


def words(result: dict[str, Any]) -> str:
    """Describe the machine, the durability of each subject, and how far to trust the figures."""
    lines = [measured(result)]
    subjects: list[str] = []
    if busy(result):
        lines.append(
            f"{busy(result)} Only "
            "rows of one workload that were measured in turns can be compared, and only roughly; "
            "nothing here shows what a quiet machine does."
        )
    for name, about in result["subjects"].items():
        parts = ", ".join(f"{part} {version}" for part, version in about["versions"].items())
        kept = "" if about["synced"] else ", **not durable**"
        subjects.append(f"- {name}{kept} ({parts}): {about['durability']}")
    lines.append("\n".join(subjects))
    if result["absent"]:
        lines.append(
            "Not measured: "
            + "; ".join(f"{name} ({why})" for name, why in result["absent"].items())
            + "."
        )
    return "\n\n".join(lines)


def table(result: dict[str, Any]) -> str:
    """Return a table with a row for each workload, size and subject."""
    rows = ["| workload | subject | median | lowest – highest | ratio | |"]
    rows.append("|---|---|---:|---:|---:|---|")
    for entry in ordered(result):
        name, workload = entry["figure"], entry["workload"]
        lowest, highest = (
            number_and_unit(name, entry[which][name])[0] for which in ("lowest", "highest")
        )
        median = worded(name, entry["median"][name], workload)
        what = ", ".join(part for part in (workload, entry["label"]) if part)
        compared = ratio_cell(result, entry)
        cells = (what, entry["subject"], median, f"{lowest} – {highest}", compared, beside(entry))
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _charts(name: str, result: dict[str, Any], folder: Path) -> list[Path]:
    """Draw all, keep those that the page shows, under names of this result."""
    if not SHOWN[name]:
        return []
    scratch = folder / f".{name}"
    drawn = {path.stem: path for path in charts.draw(result, scratch)}
    kept: list[Path] = []
    try:
        for old in folder.glob(f"{name}-*.svg"):
            old.unlink()
        for shown in SHOWN[name]:
            stem = shown if shown in drawn else _with_size(shown, drawn)
            if stem is not None:
                path = folder / f"{name}-{shown}.svg"
                shutil.move(drawn.pop(stem), path)
                kept.append(path)
    finally:
        shutil.rmtree(scratch)
    return kept


def _with_size(shown: str, drawn: dict[str, Path]) -> str | None:
    """Return the name of a chart; if it lacks a size, that of the chart of the largest size."""
    found = [stem for stem in drawn if re.fullmatch(rf"{shown}-\d+", stem)]
    return max(found, key=lambda stem: int(stem.rpartition("-")[2])) if found else None


def _title(path: Path) -> str:
    found = re.search("<title>(.*?)</title>", path.read_text())
    assert found is not None
    return found[1]
