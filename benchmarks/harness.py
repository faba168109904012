"""The harness: measures workloads on subjects in turns, several times, and records the results.

A *subject* is a system that can be measured; a *workload* is a task that it is given. Subjects that
are compared are open at the same time and take turns within each workload, in an order that changes
from round to round, so that a disturbance of the machine meets all of them. Each round begins with
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

from benchmarks.host import host, load_average, versions

FORMAT: Final = 1
#: The subject that others are compared with, where nothing else is said.
BARE_PIPELINE: Final = "bare pipeline"
#: Values by name; a name ends with its unit.
Figures = dict[str, float]


@dataclass(frozen=True)
class Workload:
    """A task that each subject is given.

    Attributes
    ----------
    figure
        The figure that counts, among all that a run returns.
    lower_is_better
        Whether a lower value of that figure is better.
    sizes
        The sizes that `make bench` measures, in `unit`.
    alone
        Whether it starts processes of its own, so that nothing else is open meanwhile.
    """

    name: str
    title: str
    figure: str
    unit: str
    sizes: tuple[int, ...]
    lower_is_better: bool = False
    alone: bool = False
    #: Rounds in which it is measured at most, for workloads that take long or hardly vary.
    rounds_max: int = 1000

    def label(self, size: int) -> str:
        """Return a size in words."""
        if self.unit == "bytes":
            for word, bytes_ in (("MiB", 2**20), ("KiB", 2**10)):
                if size >= bytes_:
                    return f"{size // bytes_} {word}"
        return f"{size:,} {self.unit}" if self.unit else ""


class SubjectError(Exception):
    """A subject cannot be measured here; the text says why. Others are still measured."""


class Runner(Protocol):
    """An open subject."""

    def run(self, workload: str, size: int) -> Figures | None:
        """Run a workload once; return its figures, or None if the subject does not support it."""


class Subject(Protocol):
    """A system that can be measured."""

    @property
    def name(self) -> str:
        """Its name in results."""

    @property
    def durability(self) -> str:
        """The failures that an acknowledged result survives, in words."""

    #: Whether a result is on the disk when it is acknowledged, so that it survives a power loss.
    synced: bool

    def open(self) -> AbstractContextManager[Runner]:
        """Start it, empty."""

    def alone(self) -> Runner:
        """Return a runner of the workloads that start their own processes."""

    def versions(self) -> dict[str, str]:
        """Return the versions of its parts."""


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
        """Return medians, lowest and highest values, and each run."""
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
    """The runs so far, in a file, so that an interrupted measurement can go on.

    Parameters
    ----------
    path
        The file. It is created by the first run, and removed by `done`.
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
        """Return the figures of a run in the journal."""
        return self._known[key]

    def add(self, key: tuple[Any, ...], figures: Figures | None) -> None:
        """Write a run to the file at once."""
        self._known[key] = figures
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps([key, figures]) + "\n")

    def done(self) -> None:
        """Remove the file, because the result is complete."""
        self.path.unlink(missing_ok=True)


#: Called after each run with workload, size, subject, figures and seconds.
OnRun = Callable[[Workload, int, str, Figures | None, float], None]


class Harness:
    """Runs workloads on subjects, and collects the figures.

    Parameters
    ----------
    workloads
        With the sizes to measure.
    groups
        Subjects; those of one group are open together and take turns.
    warm_up
        Sizes of a first run that is not counted, by workload; none for those absent.
    reference
        The name of the subject that the others are compared with.
    """

    def __init__(
        self,
        workloads: Sequence[tuple[Workload, Sequence[int]]],
        groups: Sequence[Sequence[Subject]],
        *,
        warm_up: Mapping[str, int] = {},
        on_run: OnRun | None = None,
        journal: Journal | None = None,
        reference: str = BARE_PIPELINE,
    ) -> None:
        self.reference = reference
        self.workloads = workloads
        self.groups = groups
        self.warm_up = warm_up
        self.on_run = on_run
        self.journal = journal
        #: Subjects that cannot be measured, and why.
        self.absent: dict[str, str] = {}
        self.series: dict[tuple[str, int, str], Series] = {}
        self.rounds = 0
        self._kept: set[tuple[str, int, str, int]] = set()
        #: Seconds of the last round, without workloads that are not measured again.
        self.repeat_s = 0.0
        self.began_at = time.time()
        self.load_before = load_average()
        #: Cores that other work used before the first round; None if that was not measured.
        self.busy_before: float | None = None

    def round(self) -> None:
        """Run everything once."""
        number = self.rounds
        self.repeat_s = 0.0
        for group in rotated(self.groups, number):
            self._together(group, number)
            self._each_alone(group, number)
        self.rounds += 1

    def rounds_within(self, rounds: int, limit_s: float) -> None:
        """Run `rounds` rounds, or as many as fit into `limit_s`, but at least one."""
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
        """Take the figures of this run from the journal, if it has them; return whether it had."""
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
        """Return everything that was measured, ready for JSON."""
        subjects = [subject for group in self.groups for subject in group]
        # A subject that failed halfway has figures too.
        measured = {series.subject for series in self.series.values()}
        return {
            "format": FORMAT,
            "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.began_at)),
            "seconds": round(time.time() - self.began_at, 1),
            "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
            "machine": host(),
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
            "reference": self.reference,
            "results": [series.summary() for series in self.series.values() if series.runs],
        }


def rotated(items: Sequence[Any], by: int) -> list[Any]:
    """Return `items`, starting `by` places further on."""
    by %= max(1, len(items))
    return [*items[by:], *items[:by]]


def write(path: Path, result: dict[str, Any]) -> None:
    """Write a result to a file, completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    partial.replace(path)


def read(path: Path) -> dict[str, Any]:
    """Read a result from a file.

    Raises
    ------
    ValueError
        The file is no result, or one of another format.
    """
    result = json.loads(path.read_text())
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise ValueError(f"{path} is not a result of this version of the benchmarks")
    return result


def latencies(values_ms: Sequence[float], took_s: float) -> Figures:
    """Return the figures of calls that were timed one by one."""
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
    """Return the figures of calls that were timed together."""
    return {"calls": calls, "seconds": took_s, "calls_per_s": calls / took_s}


def find(result: dict[str, Any], workload: str, subject: str) -> Iterable[dict[str, Any]]:
    """Return the entries of a workload and a subject in a result, by size."""
    entries: list[dict[str, Any]] = [
        entry
        for entry in result["results"]
        if entry["workload"] == workload and entry["subject"] == subject
    ]
    return sorted(entries, key=lambda entry: entry["size"])
