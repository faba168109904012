"""A node and a client at two brokers that share the slots: calls of both, and the death of one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.integration.sdk.brokers import Two
from tests.support import eventually, free_url
from understudy import Context, Runtime
from understudy.client.strangers import PATIENCE_S
from understudy.errors import BrokerUnavailableError
from understudy_broker.core.config import BrokerConfig
from understudy_broker.server.embedded import EmbeddedBroker


def shop(url: str, name: str) -> Runtime:
    runtime = Runtime("shop", name, url=url, connect_timeout=2)

    @runtime.register
    def double(_: Context, n: int) -> int:
        return 2 * n

    @runtime.register
    def total(ctx: Context, n: int) -> Any:
        numbers = yield ctx.all([ctx.rpc(double, each) for each in range(n)])
        yield ctx.sleep(0.05)
        return sum(numbers)

    return runtime


def call(client: Runtime, id_: str, name: str, n: int) -> object:
    return client.rpc(id_, name, n).result(timeout=20)


@pytest.fixture
def node(two: Two) -> Iterator[Runtime]:
    with shop(two.url("a"), "node") as node:
        yield node


@pytest.fixture
def client(two: Two) -> Iterator[Runtime]:
    runtime = Runtime("clients", url=two.url("b"), connect_timeout=2)
    yield runtime.options(target="shop")
    runtime.stop()


def test_a_call_is_performed_at_the_broker_of_its_id(
    two: Two, node: Runtime, client: Runtime
) -> None:
    ids = two.ids("a", 20) + two.ids("b", 20)
    handles = {id_: client.rpc(id_, "total", 9) for id_ in ids}
    assert {handle.result(timeout=20) for handle in handles.values()} == {72}
    assert client.get(ids[0]).result(timeout=5) == 72
    assert client.get(ids[-1]).result(timeout=5) == 72
    # Each call has nine calls and a sleep, at the broker of its root.
    pages = {record.id for record in client.promises.search(limit=7)}
    assert len(pages) == len(ids) * 11


def test_groups_are_shown_as_if_there_were_one_broker(
    two: Two, node: Runtime, client: Runtime
) -> None:
    for name in "ab":
        assert call(client, two.ids(name, 1)[0], "double", 4) == 8
    [group] = [group for group in client.groups().groups if group.name == "shop"]
    assert [each.name for each in group.nodes] == ["node"]


def test_while_a_broker_is_away_calls_of_the_other_go_on(
    two: Two, node: Runtime, client: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "understudy")
    [gone, later], [here, more] = two.ids("b", 2), two.ids("a", 2)
    assert call(client, gone, "double", 1) == 2
    assert call(client, here, "double", 2) == 4
    two.running.pop("b").stop()
    assert call(client, more, "total", 3) == 6
    with pytest.raises(BrokerUnavailableError, match=two.url("b")):
        client.rpc(later, "double", 3)
    with pytest.raises(BrokerUnavailableError):
        # Nobody can say what the broker that is away would show.
        list(client.promises.search())
    eventually(lambda: two.url("b") in caplog.text)
    assert call(client, more, "total", 3) == 6
    two.start("b")
    assert client.get(gone).result(timeout=20) == 2
    assert call(client, later, "double", 3) == 6


def test_a_peer_that_knows_one_address_finds_the_other_broker_when_it_starts(two: Two) -> None:
    two.running.pop("b").stop()
    [later] = two.ids("b", 1)
    with shop(two.url("a"), "node") as node:
        with suppress(BrokerUnavailableError):
            node.rpc(later, "double", 1)
        two.start("b")
        assert node.get(later).result(timeout=20) == 2


def test_a_client_with_two_addresses_needs_one_of_the_brokers_only(two: Two) -> None:
    [here] = two.ids("a", 1)
    two.running.pop("b").stop()
    client = Runtime("clients", url=f"{two.url('b')}, {two.url('a')}", connect_timeout=2)
    client.promises.create(here)
    assert client.promises.get(here).id == here
    client.stop()


def test_a_client_that_knows_dead_brokers_only_says_so_and_goes_on_trying(
    two: Two, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "understudy")
    for name in "ab":
        two.running.pop(name).stop()
    url = f"{two.url('a')},{two.url('b')}"
    client = Runtime("clients", url=url, connect_timeout=1.2)
    with pytest.raises(BrokerUnavailableError, match=url):
        client.promises.create("p")
    assert url in caplog.text
    assert "Still trying" in caplog.text
    for name in "ab":
        two.start(name)
    client.promises.create("p")
    client.stop()


def test_a_broker_of_another_deployment_in_the_place_of_one_is_left_alone(two: Two) -> None:
    [there], [here] = two.ids("b", 1), two.ids("a", 1)
    two.running.pop("b").stop()
    client = Runtime("clients", url=two.url("a"), connect_timeout=2)
    client.promises.create(here)
    two.start("b", deployment="another shop")
    with pytest.raises(BrokerUnavailableError, match="another deployment"):
        client.promises.create(there)
    client.promises.resolve(here, 1)
    client.stop()


@pytest.mark.parametrize("deployment", ["another shop", ""])
def test_addresses_of_two_deployments_are_an_error_in_the_log(
    two: Two, caplog: pytest.LogCaptureFixture, deployment: str
) -> None:
    config = BrokerConfig(name="x", deployment=deployment)
    with EmbeddedBroker("memory", free_url(), config=config) as other:
        client = Runtime("clients", url=f"{two.url('a')},{other.endpoint}", connect_timeout=5)
        client.promises.create(two.ids("a", 1)[0])
        eventually(lambda: "leads to two deployments" in caplog.text, 10)
        client.stop()
    [text] = [text for text in caplog.messages if "leads to two deployments" in text]
    assert "the broker 'a' of the deployment" in text
    assert f"the broker 'x' of {'the' if deployment else 'no named'} deployment" in text
    assert f"at {other.endpoint}. Name the brokers of one deployment only." in text


def test_addresses_of_one_deployment_and_one_that_is_away_are_none(
    two: Two, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"{two.url('a')},{two.url('b').replace('127.0.0.1', 'localhost')},{free_url()}"
    client = Runtime("clients", url=url, connect_timeout=5)
    client.promises.create(two.ids("a", 1)[0])
    time.sleep(PATIENCE_S + 0.5)
    client.stop()
    assert "two deployments" not in caplog.text
