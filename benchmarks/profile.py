"""The profile of a call: its time by thread on real processes, and by stage in the pure cores.

``python -m benchmarks profile`` prints two tables and writes a JSON file;
``python -m benchmarks publish --profile FILE`` puts them into docs/performance.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from rich.console import Console
from rich.table import Table

from benchmarks import cores, harness, report, stages, threads
from benchmarks.host import busy_cores, host, load_average, versions

CALLS: Final = 50_000
CHAINS: Final = 500
ROUNDS: Final = 3
STAGE_CALLS: Final = 20_480
BEST_OF: Final = 5
NOT_COUNTED: Final = (
    "Threads were not measured: this system does not count time for each of them (Linux does)."
)

THREAD_HEAD: Final = ("thread", "µs per call", "waited for a core, µs", "what it does")
CHAIN_HEAD: Final = ("thread", "µs per chain", "sleeps", "what it does")
STAGE_HEAD: Final = ("where", "stage", "µs per call", "what it does")

#: Headings of columns with numbers.
_NUMBERS: Final = {THREAD_HEAD[1], THREAD_HEAD[2], CHAIN_HEAD[1], CHAIN_HEAD[2]}

Rows = list[tuple[str, ...]]


def measure(
    calls: int = CALLS,
    rounds: int = ROUNDS,
    stage_calls: int = STAGE_CALLS,
    best_of: int = BEST_OF,
    chains: int = CHAINS,
) -> dict[str, Any]:
    """Measure all parts; return them ready for JSON.

    ``threads`` and ``chains`` are None if the system does not count time for each thread.

    Parameters
    ----------
    calls, rounds
        The size of the fan-out on real processes, and the number of runs: see `threads.measure`.
    stage_calls, best_of
        The same for the pure cores: see `stages.measure`.
    chains
        The number of chains of three calls, one after the other, in each of the `rounds`.
    """
    began_at, load_before, busy_before = time.time(), load_average(), busy_cores()
    by_thread = threads.measure(calls, rounds) if threads.available() else None
    of_chains = threads.measure_chains(chains, rounds) if threads.available() else None
    by_stage = stages.measure(stage_calls, best_of)
    return {
        "format": harness.FORMAT,
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began_at)),
        "seconds": round(time.time() - began_at, 1),
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "machine": host(),
        "load_average": {"before": load_before, "after": load_average()},
        "busy_cores_before": busy_before,
        "versions": versions(),
        "rounds": rounds,
        "threads": by_thread,
        "chains": of_chains,
        "stages": by_stage,
    }


def read(path: Path) -> dict[str, Any]:
    """Read a profile from a file.

    Raises
    ------
    ValueError
        The file is another kind of result, or none.
    """
    result = harness.read(path)
    if "stages" not in result:
        raise ValueError(f"{path} is no profile: `python -m benchmarks profile` writes one")
    return result


def show(result: dict[str, Any], console: Console | None = None) -> None:
    """Print the tables, and the limits that follow from them."""
    # If the output is no terminal, make the console as wide as the tables.
    console = console or (Console() if sys.stdout.isatty() else Console(width=report.WIDTH))
    for head, rows, words in _parts(result):
        if rows:
            console.print(_table(head, rows))
        console.print("\n".join(words) + "\n", highlight=False, soft_wrap=True)
    found = result["machine"]
    console.print(
        f"{result['seconds']:.0f} s on {found['cores']} cores ({found['processor']}), Python "
        f"{result['versions']['python']}, {result['versions']['commit']}; load before "
        f"{result['load_average']['before'][0]}",
        highlight=False,
    )


def markdown(result: dict[str, Any]) -> str:
    """Return the tables, and the limits that follow from them, as Markdown."""
    parts: list[str] = []
    for head, rows, words in _parts(result):
        if rows:
            sides = ["---:" if heading in _NUMBERS else "---" for heading in head]
            lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
            parts.append("\n".join([lines[0], f"|{'|'.join(sides)}|", *lines[1:]]))
        parts += words
    return "\n\n".join(parts)


def thread_rows(run: dict[str, Any]) -> Rows:
    """Return a row for each role that has threads, and their sum."""
    rows: Rows = []
    for role, what in threads.ROLES.items():
        its = [thread for thread in run["threads"] if thread["role"] == role]
        if its:
            spent, waited = (sum(thread[key] for thread in its) for key in ("us", "waited_us"))
            rows.append((role, f"{spent:.1f}", f"{waited:.1f}", what))
    return [*rows, ("together", f"{run['processor_us']:.1f}", "", "")]


def chain_rows(run: dict[str, Any]) -> Rows:
    """Return a row for each role that has threads, and their sum."""
    rows: Rows = []
    for role, what in threads.ROLES.items():
        its = [thread for thread in run["threads"] if thread["role"] == role]
        # Some threads, such as the writer, sleep all the time.
        if (spent := sum(thread["us"] for thread in its)) >= 1:
            slept = sum(thread["sleeps"] for thread in its)
            rows.append((role, f"{spent:,.0f}", f"{slept:.1f}", what))
    slept = sum(thread["sleeps"] for thread in run["threads"])
    return [*rows, ("together", f"{run['processor_us']:,.0f}", f"{slept:.1f}", "")]


def stage_rows(found: dict[str, Any]) -> Rows:
    """Return a row for each stage, one for the part of a stage, and the sum."""
    us = {(each["where"], each["stage"]): each["us"] for each in found["stages"]}
    rows: Rows = []
    for where, stage, what in stages.STAGES:
        rows.append((where, stage, f"{us[where, stage]:.2f}", what))
        if (where, stage) == (cores.BROKER, "step"):
            where, stage, what = stages.PART
            rows.append((where, stage, f"({found['dispatch_us']:.2f})", what))
    return [*rows, ("together", "", f"{sum(us.values()):.2f}", "")]


def limits(run: dict[str, Any], cores: int) -> list[str]:
    """Say how many calls are possible, and what limits them."""
    spent_us, wall_us = run["processor_us"], run["wall_us"]
    by_process: dict[str, float] = {}
    for thread in run["threads"]:
        by_process[thread["process"]] = by_process.get(thread["process"], 0.0) + thread["us"]
    busiest = max(by_process, key=lambda process: by_process[process])
    thread_us = max(each["us"] for each in run["threads"] if each["process"] == busiest)
    reached = (
        f"A call takes {spent_us:.1f} µs of processor time in all, and {wall_us:.1f} µs of time: "
        f"{run['cores_used']:.2f} of {cores} cores were in use. {cores} cores allow at most "
        f"{_per_s(spent_us / cores)}; {_per_s(wall_us)} were reached."
    )
    spare = (
        f"With cores to spare, the busiest process ({busiest}: {by_process[busiest]:.1f} µs of "
        f"each call) would be the limit: {_per_s(thread_us)} if its threads never waited for each "
        f"other, {_per_s(by_process[busiest])} if they always took turns, as Python's threads do "
        "outside of SQLite, ZeroMQ and the system."
    )
    return [reached, spare]


def _parts(result: dict[str, Any]) -> list[tuple[Sequence[str], Rows, list[str]]]:
    """Return heading, rows and sentences of each table."""
    by_thread, by_stage = result["threads"], result["stages"]
    if by_thread is None:
        first: tuple[Sequence[str], Rows, list[str]] = (THREAD_HEAD, [], [NOT_COUNTED])
        run = None
    else:
        run = by_thread["median"]
        what = (
            f"A fan-out of {by_thread['calls']:,} calls on real processes; of "
            f"{len(by_thread['runs'])} runs, the one with the median processor time."
        )
        words = [what, *limits(run, result["machine"]["cores"])]
        first = (THREAD_HEAD, thread_rows(run), words)
    return [
        first,
        *_about_chains(result["chains"]),
        (STAGE_HEAD, stage_rows(by_stage), _about_stages(by_stage, run)),
    ]


def _about_chains(
    found: dict[str, Any] | None,
) -> list[tuple[Sequence[str], Rows, list[str]]]:
    """Return the table of a chain; nothing if the system does not count for each thread."""
    if found is None:
        return []
    run = found["median"]
    lines = (
        f"A chain of three calls, alone; of {len(found['runs'])} runs of {found['calls']:,} "
        "chains, the one with the median processor time. A chain takes "
        f"{run['wall_us'] / 1000:.2f} ms, in six commits and twelve frames one after the other; "
        f"its threads were on a core for {run['processor_us'] / 1000:.2f} ms, and slept "
        f"{sum(thread['sleeps'] for thread in run['threads']):.0f} times."
    )
    return [(CHAIN_HEAD, chain_rows(run), [lines])]


def _about_stages(found: dict[str, Any], run: dict[str, Any] | None) -> list[str]:
    places: dict[str, float] = {}
    for each in found["stages"]:
        places[each["where"]] = places.get(each["where"], 0.0) + each["us"]
    together = sum(places.values())
    sync = found["sync"]
    lines = [
        f"{found['calls']:,} calls; of each stage, the best of {found['best_of']} runs: "
        + ", ".join(f"{place} {us:.1f} µs" for place, us in places.items())
        + f". A commit of {sync['rows_per_commit']:.0f} rows is on the disk after "
        f"{sync['us']:,.0f} µs, while the broker's loop goes on; each call is in two commits."
    ]
    if run is not None and run["processor_us"] > together:
        rest = run["processor_us"] - together
        lines.append(
            f"The threads take {rest:.1f} µs per call more than these stages: for sockets and the "
            "system, for waking each other, for batches of other sizes than 512, and because they "
            "share caches and the interpreter."
        )
    return lines


def _per_s(us: float) -> str:
    return f"{1e6 / us:,.0f} calls/s" if us else "any number of calls/s"


def _table(head: Sequence[str], rows: Rows) -> Table:
    table = Table(box=None, title_justify="left", pad_edge=False)
    for heading in head:
        justify: Literal["right", "left"] = "right" if heading in _NUMBERS else "left"
        table.add_column(heading, justify=justify, no_wrap=True)
    for row in rows:
        if row[0] == "together":
            table.add_section()
        table.add_row(*row)
    return table
