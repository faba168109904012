"""``understudy bench``: its figures, and a stop in order at any moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support import eventually
from understudy.bench.deployment import free_port

LIMIT_S: Final = 60.0


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "understudy", "bench", *arguments]


@contextmanager
def under_way(tmp_path: Path, workload: str) -> Iterator[subprocess.Popen[str]]:
    """Run a workload of very many calls; yield once some of them are stored."""
    process = subprocess.Popen(
        command(workload, "--calls", "2000000", "--json"),
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: any(log.stat().st_size > 0 for log in tmp_path.glob("*/*-wal")), LIMIT_S)
        yield process
    finally:
        process.kill()
        process.wait(LIMIT_S)


@pytest.mark.parametrize(
    ("workload", "number"),
    [
        ("chain", signal.SIGINT),
        ("chains", signal.SIGINT),
        ("payload", signal.SIGINT),
        ("chain", signal.SIGTERM),
        ("chains", signal.SIGTERM),
    ],
)
def test_a_signal_stops_it_in_order_and_leaves_nothing(
    workload: str, number: signal.Signals, tmp_path: Path
) -> None:
    with under_way(tmp_path, workload) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, out, err) == (128 + number, "", "")
    assert list(tmp_path.iterdir()) == []


def test_it_stops_in_order_also_where_ctrl_c_is_ignored(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with under_way(tmp_path, "chain") as process:
            process.terminate()
            out, err = process.communicate(timeout=LIMIT_S)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (process.returncode, out, err) == (128 + signal.SIGTERM, "", "")
    assert list(tmp_path.iterdir()) == []


def test_json_is_one_object_with_every_run(tmp_path: Path) -> None:
    done = subprocess.run(
        command("payload", "--calls", "20", "--repeat", "2", "--nodes", "1", "--json"),
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    found = json.loads(done.stdout)
    assert (found["workload"], found["nodes"], len(found["runs"])) == ("payload", 1, 2)
    assert found["calls"] == 20
    assert found["calls_per_s"] > 0
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_a_missing_broker_is_reported_soon() -> None:
    done = subprocess.run(
        command("chain", "--url", f"tcp://127.0.0.1:{free_port()}"),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    first, *_, last = done.stderr.splitlines()
    assert "no broker answers" in first
    assert "s more" in first
    assert "no broker answers" in last
    assert done.returncode == 4
