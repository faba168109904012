"""The harness, driven with subjects that only pretend: turns, medians, the shape of a result."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as program
from benchmarks import charts, guard, report
from benchmarks.__main__ import main
from benchmarks.harness import (
    Figures,
    Harness,
    Journal,
    SubjectError,
    Workload,
    find,
    latencies,
    read,
    write,
)
from benchmarks.host import BUSY_MAX, busy_cores
from benchmarks.workloads import MODULES, WORKLOADS, memory


@dataclass
class Fake:
    """Answers at once, with a figure that grows from run to run."""

    name: str
    speed: float
    log: list[str]
    durability: str = "none at all"
    synced: bool = False
    runs: int = 0
    refuses: set[str] = field(default_factory=set)

    def open(self) -> AbstractContextManager[Fake]:
        return self._opened()

    @contextmanager
    def _opened(self) -> Iterator[Fake]:
        self.log.append(f"open {self.name}")
        yield self
        self.log.append(f"close {self.name}")

    def alone(self) -> Fake:
        return self

    def versions(self) -> dict[str, str]:
        return {self.name: "1.0"}

    def run(self, workload: str, size: int) -> Figures | None:
        if workload in self.refuses:
            return None
        self.log.append(f"{workload} {size} {self.name}")
        self.runs += 1
        speed = self.speed + self.runs
        return {
            WORKLOADS[workload].figure: speed,
            "p50_ms": 1 / speed,
            "p90_ms": 2 / speed,
            "p99_ms": 3 / speed,
        }


def measured(rounds: int = 3, *, ours: float = 100.0, bare: float = 200.0) -> dict[str, Any]:
    """A result of all workloads that are opened together, and of one alone."""
    subjects = [Fake("understudy", ours, []), Fake("bare pipeline", bare, [])]
    workloads = [(w, w.sizes) for w in WORKLOADS.values() if not w.alone or w.name == "replay"]
    harness = Harness(workloads, [subjects])
    harness.rounds_within(rounds, 60)
    return harness.result()


def test_subjects_take_turns_and_begin_in_turn() -> None:
    log: list[str] = []
    subjects = [Fake("one", 1, log), Fake("two", 1, log)]
    harness = Harness([(WORKLOADS["fan_out"], (5, 6))], [subjects], warm_up={"fan_out": 2})
    harness.round()
    assert log == [
        *("open one", "open two", "fan_out 2 one", "fan_out 2 two"),
        *("fan_out 5 one", "fan_out 5 two", "fan_out 6 one", "fan_out 6 two"),
        *("close two", "close one"),
    ]
    log.clear()
    harness.round()
    assert [line for line in log if line.startswith("fan_out 5")] == [
        "fan_out 5 two",
        "fan_out 5 one",
    ]


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    log: list[str] = []
    workloads = [(WORKLOADS[name], (1,)) for name in ("fan_out", "chain")]

    def harness() -> Harness:
        groups = [[Fake(name, 1, log)] for name in ("one", "two")]
        return Harness(workloads, groups, journal=Journal(tmp_path / "runs"))

    first = harness()
    first.groups = first.groups[:1]
    first.round()
    log.clear()
    second = harness()
    second.round()
    assert log == ["open two", "fan_out 1 two", "chain 1 two", "close two"]
    found = {(e["workload"], e["subject"]): len(e["runs"]) for e in second.result()["results"]}
    assert found == {(w, s): 1 for w in ("fan_out", "chain") for s in ("one", "two")}
    second.round()
    assert log.count("fan_out 1 one") == 1
    assert Journal(tmp_path / "runs").get(("fan_out", 1, "two", 1)) is not None
    Journal(tmp_path / "runs").done()
    assert not len(Journal(tmp_path / "runs"))


def test_runs_of_a_subject_that_stopped_halfway_are_not_repeated(tmp_path: Path) -> None:
    log: list[str] = []
    journal = Journal(tmp_path / "runs")
    journal.add(("fan_out", 1, "one", 0), {"calls_per_s": 7.0})
    workloads = [(WORKLOADS[name], (1,)) for name in ("fan_out", "chain")]
    harness = Harness(workloads, [[Fake("one", 1, log)]], journal=journal)
    harness.round()
    assert log == ["open one", "chain 1 one", "close one"]
    entries = harness.result()["results"]
    assert [e["runs"][0][e["figure"]] for e in entries if e["workload"] == "fan_out"] == [7.0]


def test_a_subject_that_cannot_be_had_is_named_and_the_others_go_on() -> None:
    class Gone(Fake):
        def open(self) -> AbstractContextManager[Fake]:
            raise SubjectError("it is not installed")

    log: list[str] = []
    harness = Harness([(WORKLOADS["chain"], (1,))], [[Gone("one", 1, log)], [Fake("two", 1, log)]])
    harness.round()
    harness.round()
    result = harness.result()
    assert result["absent"] == {"one": "it is not installed"}
    assert [(e["subject"], len(e["runs"])) for e in result["results"]] == [("two", 2)]


def test_a_subject_that_fails_halfway_keeps_what_it_did(tmp_path: Path) -> None:
    class Fails(Fake):
        def run(self, workload: str, size: int) -> Figures | None:
            if workload == "chains":
                raise SubjectError("it hangs")
            return super().run(workload, size)

    workloads = [(WORKLOADS[name], (1,)) for name in ("chain", "chains")]
    harness = Harness(workloads, [[Fails("one", 1, [])], [Fake("two", 1, [])]])
    harness.round()
    result = harness.result()
    assert result["absent"] == {"one": "it hangs"}
    assert {(e["workload"], e["subject"]) for e in result["results"]} == {
        *(("chain", "one"), ("chain", "two"), ("chains", "two")),
    }
    assert charts.draw(result, tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says")
def test_memory_is_that_of_a_process_and_its_children() -> None:
    child = "import time; held = bytearray(30 * 2**20); print('ready', flush=True); time.sleep(60)"
    parent = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print('ready', flush=True)\n"
        "sys.stdin.read(); child.kill()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        figures = memory.of([], [process.pid])
    assert figures is not None
    assert figures["workers_mib"] == figures["all_mib"] >= 30
    assert memory.of([process.pid], []) is None


def test_what_varies_little_is_measured_in_few_rounds() -> None:
    log: list[str] = []
    workload = Workload("idle", "", "broker_cpu_percent", "", (1,), alone=True, rounds_max=1)
    harness = Harness([(workload, (1,))], [[Fake("one", 1, log)]])
    harness.rounds_within(3, 60)
    assert log == ["idle 1 one"]


def test_rounds_end_when_the_time_is_up() -> None:
    harness = Harness([(WORKLOADS["chain"], (1,))], [[Fake("one", 1, [])]])
    harness.rounds_within(3, -1)
    assert harness.rounds == 1


def test_what_a_subject_does_not_do_is_left_out() -> None:
    subject = Fake("one", 1, [], refuses={"chain"})
    harness = Harness([(WORKLOADS[name], (1,)) for name in ("chain", "chains")], [[subject]])
    harness.round()
    assert [entry["workload"] for entry in harness.result()["results"]] == ["chains"]


def test_a_result_says_what_was_measured_on_what(tmp_path: Path) -> None:
    result = measured()
    path = tmp_path / "results" / "latest.json"
    write(path, result)
    assert read(path) == result
    assert {"machine", "versions", "load_average", "measured_at", "command"} <= result.keys()
    assert {"cores", "processor", "file_system", "sync_of_4_kib_ms"} <= result["machine"].keys()
    assert {"python", "sqlite", "pyzmq", "commit"} <= result["versions"].keys()
    assert result["subjects"]["bare pipeline"] == {
        "durability": "none at all",
        "synced": False,
        "versions": {"bare pipeline": "1.0"},
    }
    for entry in result["results"]:
        figures = [run[entry["figure"]] for run in entry["runs"]]
        assert len(figures) == result["rounds"] == 3
        assert entry["lowest"][entry["figure"]] == min(figures)
        assert entry["median"][entry["figure"]] == sorted(figures)[1]
        assert entry["highest"][entry["figure"]] == max(figures)


def test_a_file_that_is_no_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"format": 0}')
    with pytest.raises(ValueError, match="not a result"):
        read(tmp_path / "other.json")


def test_latencies_are_those_of_the_calls() -> None:
    figures = latencies([float(ms) for ms in range(1, 101)], 2.0)
    assert figures["calls_per_s"] == 50
    assert figures["p50_ms"] == pytest.approx(50.5)
    assert figures["p99_ms"] == pytest.approx(99.01)
    assert figures["max_ms"] == 100


def test_entries_are_found_by_size() -> None:
    sizes = [entry["size"] for entry in find(measured(1), "fan_out", "bare pipeline")]
    assert sizes == sorted(WORKLOADS["fan_out"].sizes)


@pytest.mark.parametrize("name", MODULES)
def test_each_workload_can_be_run(name: str) -> None:
    module = MODULES[name]
    offered = ("alone",) if WORKLOADS[name].alone else ("understudy", "bare_pipeline")
    assert all(callable(getattr(module, function)) for function in offered)


# Charts ------------------------------------------------------------------------------------------


def test_charts_are_svg_and_show_every_subject(tmp_path: Path) -> None:
    result = measured()
    drawn = charts.draw(result, tmp_path)
    names = {path.stem for path in drawn}
    assert {"fan-out-10000", "chain-latency", "growth-in-flight", "growth-replay"} <= names
    for path in drawn:
        root = ElementTree.parse(path).getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        texts = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
        assert "understudy" in texts
        width = float(root.attrib["width"])
        for shape in root.iter("{http://www.w3.org/2000/svg}rect"):
            if "x" in shape.attrib:
                assert 0 <= float(shape.attrib["x"]) + float(shape.attrib["width"]) <= width


def test_longer_bars_stand_for_more(tmp_path: Path) -> None:
    charts.draw(measured(ours=100.0, bare=3_000.0), tmp_path)
    root = ElementTree.parse(tmp_path / "fan-out-10000.svg").getroot()
    widths = [
        float(shape.attrib["width"])
        for shape in root.iter("{http://www.w3.org/2000/svg}rect")
        if "x" in shape.attrib
    ]
    assert widths[0] < widths[1]


def test_log_scale_puts_powers_of_ten_at_equal_distances() -> None:
    at, ticks = charts.log_scale(2, 900, 0, 300)
    assert ticks == [1, 10, 100, 1000]
    assert [at(tick) for tick in ticks] == pytest.approx([0, 100, 200, 300])


# Table -------------------------------------------------------------------------------------------


def test_the_table_has_the_figures_and_the_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    report.show(measured(1, ours=99.0, bare=198.0))
    out = capsys.readouterr().out
    assert "100 calls/s" in out
    assert "0.50" in out
    assert "load before" in out


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("calls_per_s", 12345.6, "12,346 calls/s"),
        ("mib_per_s", 1.26, "1.3 MiB/s"),
        ("steps_per_s", 2.4, "2 /s"),
        ("p99_ms", 1.234, "1.23 ms"),
        ("broker_mib", 80.04, "80.0 MiB"),
        ("open_s", 1.5, "1.500 s"),
        ("seconds", 1.5, "1.500 s"),
    ],
)
def test_figures_have_units(name: str, value: float, text: str) -> None:
    assert report.worded(name, value) == text


def test_figures_beside_the_one_that_counts_are_named() -> None:
    entry = {
        "figure": "p50_ms",
        "median": {"p50_ms": 1.0, "p99_ms": 2.0, "steps_together_per_s": 30_000.0, "calls": 3.0},
    }
    assert report.beside(entry) == "p99 2.00 ms, steps together 30,000 /s"


def test_lower_latency_is_the_better_ratio() -> None:
    low = {"figure": "p50_ms", "lower_is_better": True, "median": {"p50_ms": 2.0}}
    high = {"figure": "p50_ms", "lower_is_better": True, "median": {"p50_ms": 4.0}}
    assert report.ratio(low, high) == 2.0


# The guard ---------------------------------------------------------------------------------------


def guarded(ours: float) -> guard.Ratios:
    harness = guard.harness()
    harness.groups = [[Fake("understudy", ours, []), Fake("bare pipeline", 1_000.0, [])]]
    harness.rounds_within(3, 60)
    return guard.ratios(harness.result())


def test_the_guard_holds_what_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "guard.json"
    guard.record(guarded(500.0), path)
    before = guard.recorded(path)
    assert before["fan_out 10,000 calls"] == pytest.approx(0.5, rel=0.05)
    assert guard.losses(guarded(500.0), before) == []
    assert guard.losses(guarded(450.0), before) == []


def test_the_guard_fails_below_80_percent(tmp_path: Path) -> None:
    path = tmp_path / "guard.json"
    guard.record(guarded(500.0), path)
    lost = guard.losses(guarded(350.0), guard.recorded(path))
    assert any(line.startswith("fan_out 10,000 calls: 0.3") for line in lost)


def test_the_guard_misses_what_is_no_longer_measured() -> None:
    assert guard.losses({}, {"fan_out 10,000 calls": 0.5}) == [
        "fan_out 10,000 calls: recorded, but not measured"
    ]


@pytest.mark.parametrize(
    ("now", "busy", "code", "says"),
    [
        (500.0, 0.1, 0, "passed"),
        (500.0, 0.9, 0, "passed"),
        (350.0, 0.1, 1, "make bench-guard ARGS=--record"),
        (350.0, 0.9, 3, "inconclusive: other work uses 0.9 cores"),
    ],
)
def test_the_command_says_whether_the_guard_passed_and_how_to_record(
    now: float,
    busy: float,
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "guard.json"
    guard.record(guarded(500.0), path)
    before = guard.recorded(path)
    harness = guard.harness()
    harness.groups = [[Fake("understudy", now, []), Fake("bare pipeline", 1_000.0, [])]]
    monkeypatch.setattr(guard, "harness", lambda: harness)
    monkeypatch.setattr(guard, "recorded", lambda: before)
    monkeypatch.setattr(program, "busy_cores", lambda: busy)
    assert main(["guard", "--rounds", "2"]) == code
    # what seems to be lost is measured once more before it is believed
    assert harness.rounds == (4 if code else 2)
    captured = capsys.readouterr()
    assert says in captured.out + captured.err


@pytest.mark.parametrize("busy", [0.1, 0.9])
def test_nothing_is_recorded_on_a_busy_machine(
    busy: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    harness = guard.harness()
    harness.groups = [[Fake("understudy", 1.0, []), Fake("bare pipeline", 1.0, [])]]
    path = tmp_path / "guard.json"
    monkeypatch.setattr(guard, "harness", lambda: harness)
    monkeypatch.setattr(guard, "record", lambda _: path.touch())
    monkeypatch.setattr(program, "busy_cores", lambda: busy)
    recorded = busy < BUSY_MAX
    assert main(["guard", "--rounds", "1", "--record"]) == (0 if recorded else 3)
    assert path.exists() == recorded
    assert recorded or "not recorded: other work uses 0.9 cores" in capsys.readouterr().err


def test_a_part_of_the_workloads_does_not_take_the_place_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "RESULTS", tmp_path)
    monkeypatch.setattr(program, "Understudy", lambda: Fake("understudy", 1.0, []))
    monkeypatch.setattr(program, "BarePipeline", lambda: Fake("bare pipeline", 1.0, []))
    stale = tmp_path / "charts-part" / "stale.svg"
    stale.parent.mkdir()
    stale.touch()
    assert main(["run", "--only", "chain", "--rounds", "1"]) == 0
    assert (tmp_path / "part.json").exists()
    assert not stale.exists()
    assert not (tmp_path / "latest.json").exists()
    assert "ratio: to the bare pipeline" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["run", "--rounds", "0"])


def test_what_lies_beside_a_result_of_ones_own_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "Understudy", lambda: Fake("understudy", 1.0, []))
    monkeypatch.setattr(program, "BarePipeline", lambda: Fake("bare pipeline", 1.0, []))
    kept = [tmp_path / folder / "mine.svg" for folder in ("charts", "charts-part")]
    for path in kept:
        path.parent.mkdir()
        path.touch()
    out = tmp_path / "mine.json"
    assert main(["run", "--only", "growth", "--sizes", "0", "--out", str(out)]) == 0
    assert read(out)["results"][0]["size"] == 0
    assert all(path.exists() for path in kept)


def test_the_cores_at_work_are_counted() -> None:
    busy = busy_cores()
    assert busy is None or 0 <= busy <= (os.cpu_count() or 1)


def test_the_command_fails_where_nothing_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    harness = guard.harness()
    harness.groups = [[Fake("understudy", 1.0, []), Fake("bare pipeline", 1.0, [])]]
    monkeypatch.setattr(guard, "harness", lambda: harness)
    monkeypatch.setattr(guard, "PATH", tmp_path / "guard.json")
    assert main(["guard", "--rounds", "1"]) == 1
    assert "no ratio is recorded yet" in capsys.readouterr().err


def test_the_record_that_is_committed_can_be_held_against_a_run() -> None:
    assert guard.recorded().keys() == guarded(500.0).keys()
