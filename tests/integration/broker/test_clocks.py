"""Machines whose wall clocks are wrong."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from understudy import Context, Runtime
from understudy_broker.clock import PeerClock
from understudy_broker.server.embedded import EmbeddedBroker

HOUR_NS = 3_600_000_000_000


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker("memory") as broker:
        yield broker


@pytest.mark.parametrize("error_ns", [-HOUR_NS, HOUR_NS])
def test_a_node_with_a_wrong_clock_sleeps_as_long_as_it_says(
    broker: EmbeddedBroker, error_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker began with the right time, and then this process's wall clock was set."""
    defaults = PeerClock.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "wall_ns", lambda: time.time_ns() + error_ns)
    runtime = Runtime("g", url=broker.endpoint)

    @runtime.register
    def nap(ctx: Context) -> Generator[Any, Any, float]:
        began = time.monotonic()
        yield ctx.sleep(0.3)
        return time.monotonic() - began

    with runtime:
        slept_s = runtime.options(timeout=20).rpc("nap", nap).result(10)
        assert 0.28 < slept_s < 5
