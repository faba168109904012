"""Metrics are read by name: counters, and the numbers of registered sources."""

from __future__ import annotations

from tests.unit.broker.core.rig import Rig
from understudy_broker.core.metrics import Metrics


def test_counters_and_sources_are_read_together() -> None:
    metrics = Metrics()
    metrics.frames += 2
    size = 5
    metrics.add_source(lambda: {"size": size})
    assert metrics.read()["frames"] == 2
    assert metrics.read()["size"] == 5
    size = 6
    assert metrics.read()["size"] == 6


def test_a_core_counts_and_registers_its_machine() -> None:
    rig = Rig()
    rig.join(b"peer-a", "a")
    rig.create(b"peer-a", "p", target=None)
    numbers = rig.core.metrics.read()
    assert numbers["frames"] == 2
    assert numbers["peers"] == 1
    assert numbers["promises_pending"] == 1
    assert all(type(number) is int for number in numbers.values())
