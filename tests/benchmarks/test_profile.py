"""The profile: the stages on few calls, what is said about threads, and both in a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import cores, harness, profile, publish, stages, threads
from benchmarks.__main__ import main

#: several frames of 512, the last one shorter
CALLS = 1_100


def thread(process: str, role: str, us: float) -> dict[str, Any]:
    return {"process": process, "role": role, "us": us, "waited_us": 1.0, "sleeps": 1.5}


RUN = {
    "wall_us": 50.0,
    "processor_us": 80.0,
    "cores_used": 1.6,
    "threads": [
        thread("broker", "broker: loop", 25.0),
        thread("broker", "broker: store writer", 15.0),
        thread("node-1", "nodes: loops", 12.0),
        thread("node-2", "nodes: loops", 8.0),
        thread("node-1", "nodes: workers", 20.0),
    ],
}


@pytest.fixture(scope="module")
def by_stage() -> dict[str, Any]:
    return stages.measure(CALLS, best_of=2)


def result(by_stage: dict[str, Any], load: float = 0.1) -> dict[str, Any]:
    return {
        "format": harness.FORMAT,
        "measured_at": "2026-01-02T03:04:05Z",
        "seconds": 1.0,
        "rounds": 3,
        "machine": {
            "cores": 2,
            "processor": "a processor",
            "memory_gib": 4.0,
            "file_system": "ext4",
            "sync_of_4_kib_ms": 0.2,
        },
        "versions": {"python": "3.11", "commit": "abcdef"},
        "load_average": {"before": [load, 0.0, 0.0]},
        "threads": {"calls": 50_000, "runs": [RUN], "median": RUN},
        "chains": {"calls": 500, "runs": [RUN], "median": RUN},
        "stages": by_stage,
    }


def cells(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_each_stage_takes_time(by_stage: dict[str, Any]) -> None:
    found = {(each["where"], each["stage"]): each["us"] for each in by_stage["stages"]}
    assert list(found) == [(where, stage) for where, stage, _ in stages.STAGES]
    assert all(us > 0 for us in found.values()), found
    assert 0 < by_stage["dispatch_us"] < found["broker", "step"]
    # each call is inserted and updated: twice 512 of them together, the rest do not count
    assert by_stage["sync"]["rows_per_commit"] == 512
    assert by_stage["sync"]["commits"] == 4


def test_the_rows_of_stages_add_up(by_stage: dict[str, Any]) -> None:
    *rows, (_, _, together, _) = profile.stage_rows(by_stage)
    # a part of a stage, in parentheses, is counted in it already
    parts = [float(us) for _, _, us, _ in rows if not us.startswith("(")]
    assert len(rows) == len(parts) + 1 == len(stages.STAGES) + 1
    assert float(together) == pytest.approx(sum(parts), abs=0.2)


def test_threads_of_a_role_are_one_row() -> None:
    assert [row[:3] for row in profile.thread_rows(RUN)] == [
        ("broker: loop", "25.0", "1.0"),
        ("broker: store writer", "15.0", "1.0"),
        ("nodes: loops", "20.0", "2.0"),
        ("nodes: workers", "20.0", "1.0"),
        ("together", "80.0", ""),
    ]


def test_the_limits_follow_from_the_threads() -> None:
    reached, spare = profile.limits(RUN, cores=2)
    # 80 µs on two cores; 50 µs passed for each
    assert "1.60 of 2 cores" in reached
    assert "allow at most 25,000 calls/s; 20,000 calls/s were reached" in reached
    # 25 µs of its busiest thread, 40 of both
    assert "(broker: 40.0 µs" in spare
    assert "40,000 calls/s if its threads never waited" in spare
    assert "25,000 calls/s if they always took turns" in spare


def test_what_sleeps_through_a_chain_is_left_out() -> None:
    of_all = [thread("broker", "broker: loop", 25.0), thread("client", "client", 0.2)]
    of_all += [thread(node, "nodes: loops", 10.0) for node in ("node-1", "node-2")]
    run = {**RUN, "processor_us": 45.2, "threads": of_all}
    assert [row[:3] for row in profile.chain_rows(run)] == [
        ("broker: loop", "25", "1.5"),
        ("nodes: loops", "20", "3.0"),
        ("together", "45", "6.0"),
    ]


@pytest.mark.skipif(not threads.available(), reason="this system does not count for each thread")
def test_a_chain_is_measured_on_real_processes() -> None:
    found = threads.measure_chains(20, rounds=1)
    assert found["calls"] == 20
    run = found["median"]
    sleeps: dict[str, float] = {}
    for each in run["threads"]:
        sleeps[each["role"]] = sleeps.get(each["role"], 0.0) + each["sleeps"]
    # a sync for each of six commits; five steps of functions
    assert sleeps["broker: loop"] >= 6
    assert sleeps["nodes: workers"] >= 4
    assert sleeps["client"] >= 1
    assert run["processor_us"] > 0


def test_the_tables_go_into_the_page(by_stage: dict[str, Any], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- figures profile -->\nold\n<!-- end -->\n\nafter\n")
    publish.publish_profile(result(by_stage), page)
    text = page.read_text()
    assert text.startswith("before\n\n<!-- figures profile -->\n\nMeasured 2026-01-02 at commit")
    assert text.endswith("\n\n<!-- end -->\n\nafter\n")
    assert "old" not in text
    assert "busy" not in text
    rows = cells(text)
    assert list(profile.THREAD_HEAD) in rows
    assert list(profile.CHAIN_HEAD) in rows
    assert list(profile.STAGE_HEAD) in rows
    assert ["broker: loop", "25.0", "1.0", threads.ROLES["broker: loop"]] in rows
    assert [row[1] for row in rows if row[0] == cores.PARENT] == [
        stage for where, stage, _ in stages.STAGES if where == cores.PARENT
    ]
    assert {len(row) for row in rows} == {4}
    publish.publish_profile(result(by_stage), page)
    assert page.read_text() == text
    publish.publish_profile(result(by_stage, load=1.1), page)
    assert "busy" in page.read_text()


def test_it_says_so_where_threads_are_not_counted(by_stage: dict[str, Any]) -> None:
    without = {**result(by_stage), "threads": None, "chains": None}
    text = profile.markdown(without)
    assert text.startswith(profile.NOT_COUNTED)
    assert list(profile.THREAD_HEAD) not in cells(text)
    assert list(profile.CHAIN_HEAD) not in cells(text)
    assert list(profile.STAGE_HEAD) in cells(text)


def test_the_terminal_shows_the_same(by_stage: dict[str, Any]) -> None:
    console = Console(width=200, record=True, quiet=False)
    profile.show(result(by_stage), console)
    text = console.export_text()
    assert all(stage in text for _, stage, _ in stages.STAGES)
    assert "broker: store writer" in text
    assert "at most 25,000 calls/s" in text


def test_our_own_page_has_the_mark() -> None:
    assert "<!-- figures profile -->\n" in publish.PAGE.read_text()


def test_another_kind_of_result_is_refused(by_stage: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "it.json"
    harness.write(path, {"format": harness.FORMAT, "results": []})
    with pytest.raises(ValueError, match="is no profile"):
        profile.read(path)
    harness.write(path, result(by_stage))
    assert profile.read(path)["stages"] == by_stage


def test_the_command_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["profile", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "python -m benchmarks publish --profile benchmarks/results/profile.json" in said
    with pytest.raises(SystemExit):
        main(["profile", "--calls", "0"])
    assert "0 is not 1 or more" in capsys.readouterr().err
