"""Brokers that share a store go by the clock of the database, whatever their own ones show."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

import pytest

from understudy_store.engines.postgres.shared_engine import SharedPostgresEngine

Join: TypeAlias = Callable[..., SharedPostgresEngine]
HOUR_NS = 3_600_000_000_000


@pytest.mark.parametrize("wrong_ns", [-HOUR_NS, HOUR_NS])
def test_a_clock_that_is_an_hour_off_is_not_followed(
    join: Join, monkeypatch: pytest.MonkeyPatch, wrong_ns: int
) -> None:
    right = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: right() + wrong_ns)
    engine = join("a")
    assert abs(engine.wall_ns() - right()) < HOUR_NS // 1000
    # It is set right while the broker runs: that counts for nothing, also not until the next look.
    monkeypatch.setattr(time, "time_ns", right)
    assert abs(engine.wall_ns() - right()) < HOUR_NS // 1000
