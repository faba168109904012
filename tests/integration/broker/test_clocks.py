"""Machines whose wall clocks are wrong."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from understudy import ClockError, Context, Runtime
from understudy_broker.clock import PeerClock
from understudy_broker.server.embedded import EmbeddedBroker

HOUR_NS = 3_600_000_000_000
YEAR_NS = 365 * 24 * HOUR_NS


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker("memory") as broker:
        yield broker


def set_wall_clock(monkeypatch: pytest.MonkeyPatch, error_ns: int) -> None:
    """Set the wall clock of this process, but that of its broker, which has read it already."""
    wall_ns = time.time_ns
    defaults = PeerClock.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "wall_ns", lambda: wall_ns() + error_ns)
    monkeypatch.setattr(time, "time_ns", lambda: wall_ns() + error_ns)


@pytest.mark.parametrize("error_ns", [-HOUR_NS, HOUR_NS])
def test_a_node_with_a_wrong_clock_sleeps_as_long_as_it_says(
    broker: EmbeddedBroker, error_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker began with the right time, and then this process's wall clock was set."""
    set_wall_clock(monkeypatch, error_ns)
    runtime = Runtime("g", url=broker.endpoint)

    @runtime.register
    def nap(ctx: Context) -> Generator[Any, Any, float]:
        began = time.monotonic()
        yield ctx.sleep(0.3)
        return time.monotonic() - began

    with runtime:
        slept_s = runtime.options(timeout=20).rpc("nap", nap).result(10)
        # The broker's time is known as well as half of a round trip allows.
        assert 0.2 < slept_s < 5


@pytest.mark.parametrize("error_ns", [-50 * YEAR_NS, -HOUR_NS, HOUR_NS, 2 * YEAR_NS])
def test_the_first_calls_of_a_client_with_a_wrong_clock_have_their_whole_timeouts(
    broker: EmbeddedBroker, error_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are made before the client knows the broker's time."""
    set_wall_clock(monkeypatch, error_ns)
    timeouts_s = {"call": 60.0, "question": 90.0, "delayed": 120.0}
    with Runtime("g", url=broker.endpoint) as first:
        first.options(target="nobody", timeout=60).rpc("call", "f")
    with Runtime("g", url=broker.endpoint) as second:
        second.promises.create("question", timeout=90)
    with Runtime("g", url=broker.endpoint) as third:
        third.options(target="nobody", timeout=120, delay=0.5).rpc("delayed", "f")
        for id, timeout_s in timeouts_s.items():
            found = third.promises.get(id)
            assert found.state == "pending"
            assert abs((found.timeout_at - found.created_at).total_seconds() - timeout_s) < 5
        delayed = third.promises.get("delayed")
        delay_ms = int(delayed.tags["understudy:delay"])
        assert 0 < delay_ms - delayed.created_at.timestamp() * 1000 < 5_000


def test_a_function_that_is_run_at_once_has_its_whole_timeout(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_wall_clock(monkeypatch, -2 * YEAR_NS)
    runtime = Runtime("g", url=broker.endpoint)

    @runtime.register
    def double(_: Context, n: int) -> int:
        return 2 * n

    with runtime:
        assert runtime.options(timeout=30).run("double", double, 4).result(20) == 8


def test_an_embedded_broker_is_not_started_years_later_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person says which date it is by the environment."""
    store = str(tmp_path / "calls.db")
    with Runtime.local(store) as runtime:
        runtime.promises.create("question", timeout=3600)
    set_wall_clock(monkeypatch, 2 * YEAR_NS)
    later = datetime.now(UTC) + timedelta(days=730)
    with pytest.raises(ClockError) as caught, Runtime.local(store) as runtime:
        runtime.promises.get("question")
    assert f"{later:%Y-%m-%d}" in str(caught.value)
    assert "UNDERSTUDY_BROKER__ACCEPT_CLOCK" in str(caught.value)
    # The question is as it was, and a clock that is set right again is not doubted.
    with monkeypatch.context() as right:
        set_wall_clock(right, -2 * YEAR_NS)
        with Runtime.local(store) as runtime:
            assert runtime.promises.get("question").state == "pending"
    monkeypatch.setenv("UNDERSTUDY_BROKER__ACCEPT_CLOCK", f"{later:%Y-%m-%d}")
    with Runtime.local(store) as runtime:
        assert runtime.promises.get("question").created_at < datetime.now(UTC)
