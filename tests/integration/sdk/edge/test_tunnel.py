"""Nodes and clients work through an edge as they do at the brokers themselves."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.integration.cli.deployments import Brokers
from tests.integration.cli.programs import APP, Forked, run_forked
from tests.support import eventually, free_url
from understudy import BrokerUnavailableError, ConfigurationError, Runtime
from understudy.bench.deployment import free_port
from understudy_store.slots import slot_of


@contextmanager
def _edge(broker: str, folder: Path, place: str = "") -> Iterator[tuple[Forked, str]]:
    """Run an edge; yield it and its address."""
    place = place or f"127.0.0.1:{free_port()}"
    with Forked("edge", "--listen", place, "--url", broker, cwd=folder) as edge:
        edge.wait_for("understudy edge: http")
        yield edge, f"http://{place}"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "app.py").write_text(APP)
    url = free_url()
    with Forked("broker", "--listen", url, "--store", "memory", cwd=tmp_path) as program:
        program.wait_for("listening on")
        yield url


def _node(url: str, folder: Path, name: str = "g-1") -> Forked:
    return Forked("node", "app:runtime", "--id", name, "--url", url, cwd=folder)


def test_a_node_a_client_and_the_commands(broker: str, tmp_path: Path) -> None:
    with _edge(broker, tmp_path) as (_, url), _node(url, tmp_path) as node:
        node.wait_for("node g-1")
        with Runtime("g", url=url) as runtime:
            assert runtime.rpc("order-1", "order", 3).result(20) == 30
        ran = run_forked(
            "invoke", "order-2", "order", "--target", "g", "--wait", "--url", url, cwd=tmp_path
        )
        assert (ran.returncode, ran.stdout) == (0, "10\n")
        for command in ("groups", "brokers"):
            ran = run_forked(command, "--json", "--url", url, cwd=tmp_path)
            assert ran.returncode == 0, ran.stderr
            assert json.loads(ran.stdout)
        # for the broker it is a node like any other
        ran = run_forked("groups", "--json", "--url", broker, cwd=tmp_path)
        assert "g-1" in ran.stdout
        node.process.kill()
        eventually(
            lambda: (
                "g-1" not in run_forked("groups", "--json", "--url", broker, cwd=tmp_path).stdout
            )
        )


def test_another_edge_goes_on_for_one_that_was_killed(broker: str, tmp_path: Path) -> None:
    with (
        _edge(broker, tmp_path) as (first, one),
        _edge(broker, tmp_path) as (_, other),
        _node(f"{one},{other}", tmp_path) as node,
        Runtime("clients", url=f"{one},{other}") as runtime,
    ):
        node.wait_for("node g-1")
        until = tmp_path / "until"
        held = runtime.options(target="g").rpc("held-1", "hold", str(until))
        eventually(lambda: runtime.promises.get("held-1"))
        first.stop(signal.SIGKILL)
        # the calls of before, and new ones
        assert runtime.options(target="g").rpc("order-1", "order").result(20) == 10
        until.touch()
        assert held.result(20) is None


def test_an_edge_that_ends_in_order_lets_its_tunnels_go(broker: str, tmp_path: Path) -> None:
    place = f"127.0.0.1:{free_port()}"
    with ExitStack() as edges:
        edge, url = edges.enter_context(_edge(broker, tmp_path, place))
        with _node(url, tmp_path) as node, Runtime("clients", url=url) as runtime:
            node.wait_for("node g-1")
            assert runtime.options(target="g").rpc("greet-1", "greet", "Ann").result(20)
            assert edge.stop() == 0
            edges.enter_context(_edge(broker, tmp_path, place))
            assert runtime.options(target="g").rpc("greet-2", "greet", "Bob").result(20)


def test_through_one_edge_to_all_brokers(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    with Brokers(tmp_path, "ab") as brokers:
        brokers.start("ab")
        with _edge(brokers.url, tmp_path) as (_, url), _node(url, tmp_path) as node:
            node.wait_for("node g-1")
            shown = json.loads(run_forked("brokers", "--json", "--url", url, cwd=tmp_path).stdout)
            assert [each["name"] for each in shown] == ["a", "b"]
            assert all(each["problem"] is None for each in shown)
            with Runtime("clients", url=url) as runtime:
                homes = {slot_of(f"h{n}") // 128: f"h{n}" for n in range(50)}
                assert len(homes) == 2
                for home in homes.values():
                    call = runtime.options(target="g").rpc(home, "greet", "Ann")
                    assert call.result(20) == "hello Ann"


def test_an_edge_whose_broker_is_away(tmp_path: Path) -> None:
    with (
        _edge(free_url(), tmp_path) as (_, url),
        pytest.raises(BrokerUnavailableError, match=r"no edge leads to a broker .*status 403"),
        Runtime("clients", url=url, connect_timeout=1.5),
    ):
        raise AssertionError


def test_no_edge_there() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with (
        pytest.raises(BrokerUnavailableError, match=f"no edge leads to a broker .{url}: "),
        Runtime("clients", url=url, connect_timeout=1.5),
    ):
        raise AssertionError


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://edge:x",
        "http://edge:0",
        "http://edge:8001?a=b",
        "http://edge:8001,tcp://broker:5577",
    ],
)
def test_what_is_no_address_of_an_edge(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is no address of an edge, which looks like"):
        Runtime(url=url)
