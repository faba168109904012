"""A broker of another store at a known address, and one with a wrong clock, do no harm."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cluster import rows
from tests.integration.sdk.shared_brokers import Brokers, has_shares, shop
from tests.support import eventually
from understudy import DeadlineExceededError
from understudy.cli.deployment import read_placement
from understudy.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.cluster import Cluster

HOUR_S = 3_600
#: as if nobody waited for an address
HASTY = "from understudy_broker.server import daemon; daemon.ADDRESS_S = 0.3"
#: as if the clock of a machine were off
OFF = "right = time.time_ns\ntime.time_ns = lambda: right() + {} * 1_000_000_000"


@pytest.fixture
def brokers(postgres: Cluster, tmp_path: Path) -> Iterator[Brokers]:
    brokers = Brokers(postgres.new_schema(), tmp_path)
    yield brokers
    brokers.kill()


def test_a_broker_of_another_store_in_the_place_of_one_that_died_is_left_alone(
    postgres: Cluster, brokers: Brokers, tmp_path: Path
) -> None:
    """Its own calls are nobody's business, and the calls of the dead one go on at the others."""
    brokers.start("a", "b")
    folder = tmp_path / "strangers"
    folder.mkdir()
    strangers = Brokers(postgres.new_schema(), folder)
    strangers.urls["b"] = brokers.urls["b"]
    with shop(brokers.url, "node") as node:
        eventually(lambda: has_shares(brokers, [128, 128]), 30)
        waits = [node.rpc(f"waits-{n}", "asks") for n in range(20)]
        eventually(lambda: len(list(node.promises.search(prefix="people-"))) == 20)
        brokers.end("b", signal.SIGKILL)
        try:
            strangers.start("b")
            eventually(lambda: "listening on" in strangers.log("b"), 20)
            for n in range(20):
                node.promises.resolve(f"people-waits-{n}.waits-{n}.1", n)
            assert [handle.result(timeout=60) for handle in waits] == list(range(20))
            assert set(read_placement(brokers.urls["a"]).owners) == {"a"}
            with pytest.raises(ConfigurationError, match="leads to two deployments"):
                read_placement(brokers.url)
            assert rows(strangers.store, "select count(*) from promise") == [(0,)]
        finally:
            strangers.kill()


def test_a_broker_that_cannot_listen_is_given_no_slots(brokers: Brokers) -> None:
    """A supervisor starts it again and again, and each time calls of the others would wait."""
    brokers.start("a", "b")
    eventually(lambda: has_shares(brokers, [128, 128]), 30)
    query = "select sum(epoch) from slot"
    moves = rows(brokers.store, query)
    with socket.create_server(("127.0.0.1", int(brokers.urls["c"].rpartition(":")[2]))):
        for _ in range(3):
            brokers.start("c", before=HASTY)
            assert brokers.running.pop("c").wait(20) == 1
        assert f"the address {brokers.urls['c']} is in use" in brokers.log("c")
        names = rows(brokers.store, "select distinct name from writer order by name")
        assert (names, rows(brokers.store, query)) == ([("a",), ("b",)], moves)
        # An earlier start of it may be about to end.
        brokers.start("c")
        eventually(lambda: "Waiting 12 s" in brokers.log("c"), 20)
        with pytest.raises(subprocess.TimeoutExpired):
            brokers.running["c"].wait(2)
        # It says so once.
        assert brokers.log("c").count("Waiting 12 s for it to become free") == 1
    eventually(lambda: has_shares(brokers, [84, 86, 86]), 30)
    assert rows(brokers.store, query) != moves


def test_an_address_of_another_machine_is_not_waited_for(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_BROKER__INSECURE", "true")
    monkeypatch.setenv("UNDERSTUDY_BROKER__ALLOW_ROOT", "true")
    brokers.urls["a"] = "tcp://192.0.2.1:5577"
    began = time.monotonic()
    brokers.start("a")
    assert brokers.running.pop("a").wait(20) == 1
    assert time.monotonic() - began < 8
    assert "this machine has no such address" in brokers.log("a")


@pytest.mark.parametrize("off_s", [-HOUR_S, HOUR_S])
def test_a_broker_whose_clock_is_an_hour_off(off_s: int, brokers: Brokers) -> None:
    """Neither deadlines nor sleeps are late or early, wherever they are."""
    brokers.start("a")
    brokers.start("b", before=OFF.format(off_s))
    with shop(brokers.url, "node") as node:
        eventually(lambda: has_shares(brokers, [128, 128]), 30)
        began = time.time()
        calls = [node.rpc(f"call-{n}", "total", 5) for n in range(60)]
        short = [node.options(timeout=2).rpc(f"short-{n}", "asks") for n in range(20)]
        assert [call.result(timeout=30) for call in calls] == [22] * 60
        assert time.time() - began < 20
        for handle in short:
            with pytest.raises(DeadlineExceededError):
                handle.result(timeout=30)
        assert 2 <= time.time() - began < 25
        for promise in node.promises.search(limit=500):
            assert abs(promise.created_at.timestamp() - began) < 60, promise.id
        # The slots of the wrong clock come to the right one.
        brokers.end("b", signal.SIGTERM)
        assert node.rpc("late", "total", 5).result(timeout=30) == 22
        assert "clock" not in brokers.log("a")
