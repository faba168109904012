"""Deployments of several brokers are measured on real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.brokers import Brokers, processor_s, with_children

if TYPE_CHECKING:
    from tests.cluster import Cluster


def test_two_brokers_with_files_share_fan_outs() -> None:
    with Brokers(2, on_postgres=False).open() as two:
        figures = two.run("fan_outs", 320)
    assert figures is not None
    assert figures["calls"] == 320
    assert figures["processor_us"] > 0
    assert "wal_bytes" not in figures


def test_the_share_of_the_database_is_measured(postgres: Cluster) -> None:
    """Its server is one of its own; the fixture says whether there can be one."""
    with Brokers(1, on_postgres=True, busy_poll_us=0).open() as one:
        figures = one.run("fan_out", 300)
    assert figures is not None
    assert 0 <= figures["database_us"] < figures["processor_us"]
    # The record of a fan-out is packed.
    assert figures["wal_bytes"] > 10


def test_a_subject_is_named_by_its_brokers_and_its_store() -> None:
    names = [Brokers(count, on_postgres).name for count in (1, 2) for on_postgres in (False, True)]
    assert names == ["SQLite", "PostgreSQL", "2 on SQLite", "2 on PostgreSQL"]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at in /proc")
def test_the_time_of_children_counts() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert child.pid in with_children(os.getpid())
    finally:
        child.kill()
        child.wait()
        assert child.stdin is not None
        child.stdin.close()
    before = processor_s([os.getpid()], ended=True)
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert processor_s([os.getpid()], ended=True) > before
    assert processor_s([2**22 + 1]) == 0, "one that has ended is left out"
