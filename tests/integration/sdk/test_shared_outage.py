"""Brokers whose database is away wait, come up by themselves, and can be stopped meanwhile."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.sdk.shared_brokers import Brokers, has_shares, shop
from tests.support import eventually
from understudy import BrokerUnavailableError, Runtime
from understudy_broker.server.sharing import LEAVE_S
from understudy_store.engines.postgres.connections import PATIENCE_AT_CLOSE_S

if TYPE_CHECKING:
    from tests.cluster import Cluster

HALVES = [128, 128]


@pytest.fixture
def own(postgres: Cluster) -> Iterator[Cluster]:
    """The server, which the test may stop."""
    yield postgres
    postgres.start()


@pytest.fixture
def brokers(own: Cluster, tmp_path: Path) -> Iterator[Brokers]:
    brokers = Brokers(own.new_schema(), tmp_path)
    yield brokers
    brokers.kill()


def says(brokers: Brokers, name: str, text: str) -> None:
    eventually(lambda: text in brokers.log(name), 20)


def test_brokers_that_are_started_first_wait_and_come_up(own: Cluster, brokers: Brokers) -> None:
    own.stop()
    brokers.start("a", "b")
    for name in "ab":
        says(brokers, name, "waiting for the database")
    own.start()
    eventually(lambda: has_shares(brokers, HALVES), 30)
    assert [each.poll() for each in brokers.running.values()] == [None, None]


def test_one_that_is_started_while_others_wait_comes_up_with_them(
    own: Cluster, brokers: Brokers
) -> None:
    brokers.start("a", "b")
    with shop(brokers.url, "node") as node:
        eventually(lambda: has_shares(brokers, HALVES), 30)
        waits = [node.rpc(f"waits-{n}", "asks") for n in range(20)]
        eventually(lambda: len(list(node.promises.search(prefix="people-"))) == 20)
        own.stop()
        brokers.start("c")
        says(brokers, "c", "waiting for the database")
        own.start()
        eventually(lambda: has_shares(brokers, [84, 86, 86]), 30)
        for n in range(20):
            node.promises.resolve(f"people-waits-{n}.waits-{n}.1", n)
        assert [handle.result(timeout=30) for handle in waits] == list(range(20))
    assert [each.poll() for each in brokers.running.values()] == [None] * 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_broker_that_waits_to_begin(
    number: signal.Signals, own: Cluster, brokers: Brokers
) -> None:
    own.stop()
    brokers.start("a")
    says(brokers, "a", "waiting for the database")
    brokers.running["a"].send_signal(number)
    assert brokers.running.pop("a").wait(10) == 0
    assert "was not opened: the database could not be reached" in brokers.log("a")


def test_a_signal_ends_a_broker_although_the_database_is_away(
    own: Cluster, brokers: Brokers
) -> None:
    """It can give nothing to the other one, which takes over when the database is back."""
    brokers.start("a", "b")
    with shop(brokers.url, "node") as node:
        eventually(lambda: has_shares(brokers, HALVES), 30)
        waits = [node.rpc(f"waits-{n}", "asks") for n in range(20)]
        eventually(lambda: len(list(node.promises.search(prefix="people-"))) == 20)
        own.stop()
        brokers.running["a"].send_signal(signal.SIGTERM)
        assert brokers.running.pop("a").wait(LEAVE_S + PATIENCE_AT_CLOSE_S + 10) == 0
        assert "ends with slots that it could not hand over" in brokers.log("a")
        own.start()
        eventually(lambda: has_shares(brokers, [256]), 30)
        for n in range(20):
            node.promises.resolve(f"people-waits-{n}.waits-{n}.1", n)
        assert [handle.result(timeout=30) for handle in waits] == list(range(20))


def test_a_second_signal_ends_it_at_once(own: Cluster, brokers: Brokers) -> None:
    brokers.start("a", "b")
    eventually(lambda: has_shares(brokers, HALVES), 30)
    own.stop()
    process = brokers.running.pop("a")
    process.send_signal(signal.SIGSTOP)  # so that both are there when it looks
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    assert process.wait(5) in (130, 143)  # whichever came second
    own.start()
    eventually(lambda: has_shares(brokers, [256]), 30)


def test_a_client_that_knows_dead_brokers_only_says_so_and_goes_on_trying(
    own: Cluster, brokers: Brokers, caplog: pytest.LogCaptureFixture
) -> None:
    brokers.start("a", "b")
    eventually(lambda: has_shares(brokers, HALVES), 30)
    for name in "ab":
        brokers.end(name, signal.SIGKILL)
    client = Runtime("clients", url=brokers.url, connect_timeout=1.2)
    began = time.monotonic()
    with pytest.raises(BrokerUnavailableError, match=brokers.url):
        client.promises.create("p")
    assert 1.2 <= time.monotonic() - began < 5
    assert "Still trying" in caplog.text
    brokers.start("a", "b")
    eventually(lambda: has_made(client, "p"), 30)
    client.stop()


def has_made(client: Runtime, id_: str) -> bool:
    with suppress(BrokerUnavailableError):
        return client.promises.create(id_).id == id_
    return False
