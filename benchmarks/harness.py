"""Measures workloads on subjects: in turn, several times, and writes down all that matters.

A *subject* is a system that can be measured; a *workload* what it is asked to do. Subjects that are
compared are open at the same time, and take turns within each workload, in an order that changes
from round to round; so that what disturbs the machine disturbs all of them. Each round begins with
fresh processes and empty stores.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from benchmarks.machine import load_average, machine, versions

FORMAT: Final = 1
#: name with its unit last, and value
Figures = dict[str, float]


@dataclass(frozen=True)
class Workload:
    """What is asked of each subject.

    Attributes
    ----------
    figure
        The one that counts, of all that a run gives.
    lower_is_better
        Of that figure.
    sizes
        What `make bench` measures; what a size means, `unit` says.
    alone
        It starts processes of its own, so nothing else is open meanwhile.
    """

    name: str
    title: str
    figure: str
    unit: str
    sizes: tuple[int, ...]
    lower_is_better: bool = False
    alone: bool = False
    #: measured in this many rounds at most: for what takes long or hardly varies
    rounds_max: int = 1000

    def label(self, size: int) -> str:
        """`size` in words."""
        if self.unit == "bytes":
            for word, bytes_ in (("MiB", 2**20), ("KiB", 2**10)):
                if size >= bytes_:
                    return f"{size // bytes_} {word}"
        return f"{size:,} {self.unit}" if self.unit else ""


class SubjectError(Exception):
    """A subject cannot be measured here; the text says why. The others go on."""


class Runner(Protocol):
    """An open subject."""

    def run(self, workload: str, size: int) -> Figures | None:
        """One run's figures; None if the subject does not do this."""


class Subject(Protocol):
    """A system that can be measured."""

    name: str
    #: what a result that it has acknowledged survives, in words
    durability: str
    #: whether that is a crash of the machine: what was acknowledged is on the disk
    synced: bool

    def open(self) -> AbstractContextManager[Runner]:
        """Start it, empty."""

    def alone(self) -> Runner:
        """Runs workloads that start all they need by themselves."""

    def versions(self) -> dict[str, str]:
        """Of its parts."""


@dataclass
class Series:
    """All runs of one workload and size on one subject."""

    workload: str
    size: int
    label: str
    subject: str
    figure: str
    lower_is_better: bool
    runs: list[Figures] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """As it is written down: medians, lowest and highest, and each run."""
        names = self.runs[0].keys()
        by_name = {name: [run[name] for run in self.runs] for name in names}
        return {
            "workload": self.workload,
            "size": self.size,
            "label": self.label,
            "subject": self.subject,
            "figure": self.figure,
            "lower_is_better": self.lower_is_better,
            "median": {name: statistics.median(values) for name, values in by_name.items()},
            "lowest": {name: min(values) for name, values in by_name.items()},
            "highest": {name: max(values) for name, values in by_name.items()},
            "runs": self.runs,
        }


class Journal:
    """The runs so far, in a file, so that what was interrupted goes on where it stopped.

    Parameters
    ----------
    path
        Made when there is something to write. `done` removes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[tuple[Any, ...], Figures | None] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                key, figures = json.loads(line)
                self._known[tuple(key)] = figures

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: tuple[Any, ...]) -> bool:
        return key in self._known

    def get(self, key: tuple[Any, ...]) -> Figures | None:
        """The figures of a run that is known."""
        return self._known[key]

    def add(self, key: tuple[Any, ...], figures: Figures | None) -> None:
        """Write down a run at once."""
        self._known[key] = figures
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps([key, figures]) + "\n")

    def done(self) -> None:
        """Forget: the result is complete."""
        self.path.unlink(missing_ok=True)


#: told of each run: what, of whom, its figures
OnRun = Callable[[Workload, int, str, Figures | None, float], None]


class Harness:
    """Runs and collects.

    Parameters
    ----------
    workloads
        With the sizes to measure.
    groups
        Subjects; those of one group are open together and take turns.
    warm_up
        Sizes of a first run that is not counted, by workload; none for those absent.
    """

    def __init__(
        self,
        workloads: Sequence[tuple[Workload, Sequence[int]]],
        groups: Sequence[Sequence[Subject]],
        *,
        warm_up: Mapping[str, int] = {},
        on_run: OnRun | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.workloads = workloads
        self.groups = groups
        self.warm_up = warm_up
        self.on_run = on_run
        self.journal = journal
        #: subjects that cannot be measured, and why
        self.absent: dict[str, str] = {}
        self.series: dict[tuple[str, int, str], Series] = {}
        self.rounds = 0
        self._kept: set[tuple[str, int, str, int]] = set()
        #: what the part of the last round that comes again took, seconds
        self.repeat_s = 0.0
        self.began_at = time.time()
        self.load_before = load_average()
        #: cores that others used before the first round; None: nobody has looked
        self.busy_before: float | None = None

    def round(self) -> None:
        """One run of everything."""
        number = self.rounds
        self.repeat_s = 0.0
        for group in rotated(self.groups, number):
            self._together(group, number)
            self._each_alone(group, number)
        self.rounds += 1

    def rounds_within(self, rounds: int, limit_s: float) -> None:
        """So many rounds, or as many as fit into `limit_s`; one at least."""
        began = time.monotonic()
        for _ in range(rounds):
            if self.rounds and time.monotonic() - began + self.repeat_s > limit_s:
                break
            self.round()

    def _together(self, group: Sequence[Subject], number: int) -> None:
        due = [pair for pair in self._due(number) if not pair[0].alone]
        group = [subject for subject in group if subject.name not in self.absent]
        if not due or not group:
            return
        if all(self._recalled(w, size, s) for w, sizes in due for size in sizes for s in group):
            return
        try:
            with ExitStack() as stack:
                runners = [(s, stack.enter_context(s.open())) for s in group]
                for workload, sizes in due:
                    self._in_turn(workload, sizes, runners, number)
        except SubjectError as error:
            if len(group) > 1:
                raise
            self.absent[group[0].name] = str(error)

    def _in_turn(
        self,
        workload: Workload,
        sizes: Sequence[int],
        runners: Sequence[tuple[Subject, Runner]],
        number: int,
    ) -> None:
        warm = self.warm_up.get(workload.name)
        if warm is not None:
            for _, runner in runners:
                runner.run(workload.name, warm)
        for size in sizes:
            for subject, runner in rotated(runners, number):
                self._measure(workload, size, subject, runner)

    def _each_alone(self, group: Sequence[Subject], number: int) -> None:
        for workload, sizes in self._due(number):
            if workload.alone:
                for size in sizes:
                    for subject in rotated(group, number):
                        self._measure(workload, size, subject, subject.alone())

    def _due(self, number: int) -> Iterator[tuple[Workload, Sequence[int]]]:
        return ((w, sizes) for w, sizes in self.workloads if number < w.rounds_max)

    def _measure(self, workload: Workload, size: int, subject: Subject, runner: Runner) -> None:
        if self._recalled(workload, size, subject):
            return
        began = time.perf_counter()
        figures = runner.run(workload.name, size)
        took_s = time.perf_counter() - began
        self._keep(workload, size, subject, figures)
        if self.journal is not None:
            self.journal.add((workload.name, size, subject.name, self.rounds), figures)
        if workload.rounds_max > self.rounds + 1:
            self.repeat_s += took_s
        if self.on_run is not None:
            self.on_run(workload, size, subject.name, figures, took_s)

    def _recalled(self, workload: Workload, size: int, subject: Subject) -> bool:
        """Whether this run was made before an interruption; then its figures count now."""
        key = (workload.name, size, subject.name, self.rounds)
        if self.journal is None or key not in self.journal:
            return False
        if key not in self._kept:
            self._keep(workload, size, subject, self.journal.get(key))
        return True

    def _keep(
        self, workload: Workload, size: int, subject: Subject, figures: Figures | None
    ) -> None:
        self._kept.add((workload.name, size, subject.name, self.rounds))
        if figures is None:
            return
        series = self.series.setdefault(
            (workload.name, size, subject.name),
            Series(
                workload.name,
                size,
                workload.label(size),
                subject.name,
                workload.figure,
                workload.lower_is_better,
            ),
        )
        series.runs.append(figures)

    def result(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        subjects = [subject for group in self.groups for subject in group]
        # one that failed halfway has figures too
        measured = {series.subject for series in self.series.values()}
        return {
            "format": FORMAT,
            "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.began_at)),
            "seconds": round(time.time() - self.began_at, 1),
            "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
            "machine": machine(),
            "load_average": {"before": self.load_before, "after": load_average()},
            "busy_cores_before": self.busy_before,
            "versions": versions(),
            "rounds": self.rounds,
            "subjects": {
                s.name: {
                    "durability": s.durability,
                    "synced": s.synced,
                    "versions": s.versions(),
                }
                for s in subjects
                if s.name not in self.absent or s.name in measured
            },
            "absent": self.absent,
            "results": [series.summary() for series in self.series.values() if series.runs],
        }


def rotated(items: Sequence[Any], by: int) -> list[Any]:
    """`items` in turn, beginning with another one each time."""
    by %= max(1, len(items))
    return [*items[by:], *items[:by]]


def write(path: Path, result: dict[str, Any]) -> None:
    """Write a result, or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    partial.replace(path)


def read(path: Path) -> dict[str, Any]:
    """Read a result.

    Raises
    ------
    ValueError
        It is none, or of another format.
    """
    result = json.loads(path.read_text())
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise ValueError(f"{path} is no result of this version of the benchmarks")
    return result


def latencies(values_ms: Sequence[float], took_s: float) -> Figures:
    """Figures of calls of which each was timed."""
    cuts = statistics.quantiles(values_ms, n=100, method="inclusive")
    return {
        "calls": len(values_ms),
        "seconds": took_s,
        "calls_per_s": len(values_ms) / took_s,
        "p50_ms": cuts[49],
        "p90_ms": cuts[89],
        "p99_ms": cuts[98],
        "max_ms": max(values_ms),
    }


def throughput(calls: int, took_s: float) -> Figures:
    """Figures of calls that were timed together."""
    return {"calls": calls, "seconds": took_s, "calls_per_s": calls / took_s}


def find(result: dict[str, Any], workload: str, subject: str) -> Iterable[dict[str, Any]]:
    """The entries of a result, by size."""
    entries: list[dict[str, Any]] = [
        entry
        for entry in result["results"]
        if entry["workload"] == workload and entry["subject"] == subject
    ]
    return sorted(entries, key=lambda entry: entry["size"])
