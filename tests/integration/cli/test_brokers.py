"""Several brokers on the command line: ``brokers``, ``slots``, and ``up`` with a topology."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.cli.programs import APP, PATIENCE_S, Forked, run_forked
from tests.support import free_url
from understudy import Runtime
from understudy.cli import main
from understudy.cli.commands.brokers import _HEADERS
from understudy.cli.commands.brokers import brokers as brokers_command
from understudy_broker.core.config import BrokerConfig
from understudy_broker.protocol.messages import SlotMap
from understudy_broker.protocol.placement import owners, shared_out
from understudy_broker.server.embedded import EmbeddedBroker
from understudy_store.slots import slot_of

#: A broker that is down costs about two seconds, and the machine may be busy.
SOON_S = 6


class Two:
    """Two brokers of this process that share the slots, with stores in memory."""

    def __init__(self) -> None:
        self.slots = shared_out([("a", free_url()), ("b", free_url())])
        self.running = {name: self.start(name, self.slots) for name in "ab"}

    def start(self, name: str, slots: SlotMap | None, deployment: str = "a,b") -> EmbeddedBroker:
        config = BrokerConfig(name=name, deployment=deployment, slots=slots)
        broker = EmbeddedBroker("memory", self.url(name), config=config)
        broker.start()
        return broker

    def url(self, name: str) -> str:
        return dict(self.slots.brokers)[name]


@pytest.fixture
def two() -> Iterator[Two]:
    two = Two()
    yield two
    for broker in two.running.values():
        broker.stop()


def ids_of(name: str, count: int, names: str = "ab") -> list[str]:
    """Return ids of promises that are at a broker."""
    owner = owners(shared_out([(each, "") for each in names]))
    found = (f"call-{number}" for number in range(10_000))
    mine = (id_ for id_ in found if owner[slot_of(id_)] == name)
    return [next(mine) for _ in range(count)]


@contextmanager
def stopped_at_the_end(client: Runtime) -> Iterator[None]:
    """Stop a client that is no node, so ``with`` would be wrong: it would serve."""
    try:
        yield
    finally:
        client.stop()


def printed(capsys: pytest.CaptureFixture[str], code: int, *args: str) -> str:
    """Run a command in this process, check its exit code, and return its output."""
    capsys.readouterr()
    found = main([*args])
    out, err = capsys.readouterr()
    assert found == code, out + err
    return out if code != 4 else err


# Brokers -----------------------------------------------------------------------------------------


def test_each_broker_has_a_row_of_its_own_numbers(
    two: Two, capsys: pytest.CaptureFixture[str]
) -> None:
    with Runtime(group="g", url=two.url("a")) as runtime:
        runtime.register(lambda _, number: abs(number), name="size")
        for id_ in ids_of("b", 3):
            runtime.promises.create(id_)
        for id_ in ids_of("a", 1):
            assert runtime.rpc(id_, "size", -4).result(PATIENCE_S) == 4
        rows = json.loads(printed(capsys, 0, "brokers", "--url", two.url("b"), "--json"))
    assert [row["name"] for row in rows] == ["a", "b"]
    assert [row["address"] for row in rows] == [two.url("a"), two.url("b")]
    assert [row["slots"] for row in rows] == [128, 128]
    assert [row["answers"] for row in rows] == [True, True]
    assert [row["promises_pending"] for row in rows] == [0, 3]
    assert [row["nodes"] for row in rows] == [1, 1]
    assert [row["tasks_queued"] + row["unblocks_owed"] for row in rows] == [0, 0]
    a, b = rows
    assert b["commands"] >= 3
    assert b["commits"] >= 1
    assert a["commits"] >= 1


def test_a_broker_that_is_down_is_shown_soon_beside_the_others(
    two: Two, capsys: pytest.CaptureFixture[str]
) -> None:
    two.running.pop("b").stop()
    for url in (two.url("a"), f"{two.url('b')},{two.url('a')}"):
        began = time.monotonic()
        lines = printed(capsys, 1, "brokers", "--url", url).splitlines()
        assert time.monotonic() - began < SOON_S
        header, a, b, advice = (re.sub(" +", " ", line) for line in lines)
        assert header == "BROKER ADDRESS STATE SLOTS NODES PENDING QUEUED OWED COMMANDS COMMITS"
        assert a.startswith(f"a {two.url('a')} answers 128 0 ")
        assert b == f"b {two.url('b')} does not answer 128 - - - - - -"
        assert advice == (
            f"Broker b does not answer at {two.url('b')}, so calls in its 128 slots wait. Start it "
            "with: understudy broker --name b --config FILE"
        )
    [_, row] = json.loads(printed(capsys, 1, "brokers", "--url", two.url("a"), "--json"))
    assert row["state"] == "does not answer"
    assert (row["answers"], row["problem"], row["nodes"], row["commits"]) == (
        False,
        None,
        None,
        None,
    )


def test_each_header_of_a_number_is_found_in_its_json_key() -> None:
    for key, header in _HEADERS.items():
        assert set(header.lower().split()) <= set(key.split("_")), (key, header)
        assert f"({key})" in (brokers_command.__doc__ or "")


def test_another_broker_in_the_place_of_one_does_not_count(
    two: Two, capsys: pytest.CaptureFixture[str]
) -> None:
    two.running.pop("b").stop()
    two.running["b"] = two.start("b", None, "another shop")
    *_, b, advice = printed(capsys, 1, "brokers", "--url", two.url("a")).splitlines()
    assert "does not answer" in b
    assert advice == (
        f"Broker b: the broker at {two.url('b')} is 'b' of the deployment 'another shop', and not "
        "'b' of 'a,b': check the addresses"
    )


def test_the_newest_map_counts(two: Two, capsys: pytest.CaptureFixture[str]) -> None:
    two.running.pop("b").stop()
    all_of_b = SlotMap(2, two.slots.brokers, ((255, 1),))
    two.running["b"] = two.start("b", all_of_b)
    rows = json.loads(printed(capsys, 0, "brokers", "--url", two.url("a"), "--json"))
    assert [(row["name"], row["slots"]) for row in rows] == [("a", 0), ("b", 256)]


def test_a_broker_that_refuses_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    config = BrokerConfig(peers_max=1)
    with EmbeddedBroker("memory", free_url(), config=config) as broker:
        client = Runtime(group="tests", url=broker.endpoint)
        with stopped_at_the_end(client):
            client.promises.create("p")
            error = printed(capsys, 4, "brokers", "--url", broker.endpoint)
    assert f"the broker at {broker.endpoint} is not available: " in error
    assert "peers_max" in error


def test_a_single_broker_has_all_slots(capsys: pytest.CaptureFixture[str]) -> None:
    with EmbeddedBroker("memory", free_url(), config=BrokerConfig(name="solo")) as broker:
        [row] = json.loads(printed(capsys, 0, "brokers", "--url", broker.endpoint, "--json"))
        assert (row["name"], row["address"], row["slots"]) == ("solo", broker.endpoint, 256)
        lines = printed(capsys, 0, "slots", "--url", broker.endpoint).splitlines()
    assert [line.split() for line in lines] == [
        ["BROKER", "SLOTS", "WHICH"],
        ["solo", "256", "0-255"],
    ]


@pytest.mark.parametrize("args", [("brokers",), ("slots",), ("slots", "of", "order-7")])
def test_no_broker_at_all(args: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    url = f"{free_url()},{free_url()}"
    error = printed(capsys, 4, *args, "--url", url)
    said = f"understudy: no broker answers at {url}. Start these brokers, or one of them ("
    assert error.startswith(said)


@pytest.mark.parametrize("args", [("brokers",), ("slots",), ("slots", "of", "order-7")])
def test_addresses_of_two_deployments_are_wrong_usage(
    two: Two, args: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with EmbeddedBroker("memory", free_url(), config=BrokerConfig(name="x")) as other:
        url = f"{two.url('a')},{other.endpoint}"
        assert main([*args, "--url", url]) == 2
        error = capsys.readouterr().err
    assert error.startswith(f"understudy: {url} leads to two deployments: the broker ")
    # Two addresses of one broker are those of one deployment.
    with EmbeddedBroker("memory", free_url(), config=BrokerConfig(name="x")) as sole:
        url = f"{sole.endpoint},{sole.endpoint.replace('127.0.0.1', 'localhost')}"
        assert main([*args, "--url", url]) == 0


# Call graphs -------------------------------------------------------------------------------------


def test_of_a_call_graph_what_can_be_read_is_shown_while_a_broker_is_away(
    two: Two, capsys: pytest.CaptureFixture[str]
) -> None:
    [here], [there] = ids_of("a", 1), ids_of("b", 1)
    client = Runtime(group="g", url=two.url("a"))
    with stopped_at_the_end(client):
        for id_ in (here, f"{here}.1", there):
            client.promises.create(id_)
    two.running.pop("b").stop()
    capsys.readouterr()
    for flags in ((), ("--json",)):
        assert main(["tree", here, "--url", two.url("a"), *flags]) == 4
        out, err = capsys.readouterr()
        assert f"{here}.1" in out
        assert err.splitlines()[-1] == (
            f"understudy: the broker b at {two.url('b')} does not answer: what it has is not shown"
        )
    error = printed(capsys, 4, "tree", there, "--url", two.url("a"))
    assert f"the broker at {two.url('b')} does not answer. Other brokers answer" in error
    assert main(["tree", f"{here}.none", "--url", two.url("a")]) == 1


# Slots -------------------------------------------------------------------------------------------


def test_slots_are_shown_by_broker(two: Two, capsys: pytest.CaptureFixture[str]) -> None:
    url = two.url("a")
    data = json.loads(printed(capsys, 0, "slots", "--url", url, "--json"))
    assert (data["deployment"], data["version"], data["unowned"]) == ("a,b", 1, [])
    expected = owners(two.slots)
    for broker in data["brokers"]:
        assert broker["address"] == two.url(broker["name"])
        assert broker["slots"] == [n for n, name in enumerate(expected) if name == broker["name"]]
    shown = printed(capsys, 0, "slots", "show", "--url", url)
    assert shown == printed(capsys, 0, "slots", "--url", url)
    assert [line.split()[:2] for line in shown.splitlines()] == [
        ["BROKER", "SLOTS"],
        ["a", "128"],
        ["b", "128"],
    ]


def test_ids_have_a_home_a_slot_and_a_broker(two: Two, capsys: pytest.CaptureFixture[str]) -> None:
    [mine], [other] = ids_of("a", 1), ids_of("b", 1)
    args = ("slots", "of", f"{mine}.3.pay", other, "--url", two.url("b"))
    assert json.loads(printed(capsys, 0, *args, "--json")) == [
        {"id": f"{mine}.3.pay", "home": mine, "slot": slot_of(mine), "broker": "a"},
        {"id": other, "home": other, "slot": slot_of(other), "broker": "b"},
    ]
    lines = printed(capsys, 0, *args).splitlines()
    assert lines[0].split() == ["ID", "HOME", "SLOT", "BROKER"]
    assert lines[2].split() == [other, other, str(slot_of(other)), "b"]


def test_options_before_a_command_of_slots_are_not_ignored(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["slots", "--json", "of", "order-7"]) == 2
    assert capsys.readouterr().err == (
        "understudy: options stand after the command, as in: understudy slots of --json\n"
    )


# Processes ---------------------------------------------------------------------------------------

TOPOLOGY = """
[[broker]]
name = "a"
listen = "{a}"
store = "memory"

[[broker]]
name = "b"
listen = "{b}"

[[group]]
name = "g"
app = "app:runtime"
nodes = 2
"""


@pytest.fixture
def topology(tmp_path: Path) -> tuple[str, str]:
    """Write a topology of two brokers and two nodes; return the addresses."""
    a, b = free_url(), free_url()
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "topology.toml").write_text(TOPOLOGY.format(a=a, b=b))
    return a, b


def test_a_broker_of_several_needs_its_name(tmp_path: Path, topology: tuple[str, str]) -> None:
    ran = run_forked("broker", "--config", "topology.toml", cwd=tmp_path)
    assert ran.returncode == 2
    assert ran.stderr.startswith("understudy: topology.toml: there are several brokers: a, b. Say")
    ran = run_forked("broker", "--config", "topology.toml", "--name", "c", cwd=tmp_path)
    assert ran.returncode == 2
    assert ran.stderr == "understudy: topology.toml: there is no broker 'c'; there are: a, b\n"


def test_up_runs_several_brokers_and_one_that_is_killed_comes_back(
    tmp_path: Path, topology: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = topology
    client = Runtime(group="tests", url=b, connect_timeout=PATIENCE_S)
    with Forked("up", cwd=tmp_path) as up, stopped_at_the_end(client):
        calls = client.options(target="g")
        up.wait_for(f"up: brokers a, b at {a},{b}, g 2 nodes\n")
        here, there = ids_of("a", 5), ids_of("b", 5)
        for id_ in (*here[:3], *there[:3]):
            assert calls.rpc(id_, "greet", id_).result(PATIENCE_S) == f"hello {id_}"
        rows = json.loads(printed(capsys, 0, "brokers", "--url", a, "--json"))
        assert [row["nodes"] for row in rows] == [2, 2]
        assert all(row["commits"] > 0 for row in rows)
        assert {p.id for p in client.promises.search()} == {*here[:3], *there[:3]}

        [process] = re.findall(r"process (\d+), broker b of the deployment a,b", up.output)
        os.kill(int(process), signal.SIGKILL)
        assert calls.rpc(here[3], "greet", "here").result(PATIENCE_S) == "hello here"
        assert calls.rpc(there[3], "greet", "there").result(PATIENCE_S) == "hello there"
        up.wait_for("broker b of the deployment a,b", times=2)
        # It has kept the results of before.
        assert client.get(there[0]).result(PATIENCE_S) == f"hello {there[0]}"
        assert up.stop(signal.SIGINT) == 130
    assert (tmp_path / "understudy-b.db").exists()
    assert "Traceback" not in up.output


def test_up_does_not_start_where_one_of_the_addresses_is_in_use(
    tmp_path: Path, topology: tuple[str, str], two: Two
) -> None:
    (tmp_path / "topology.toml").write_text(TOPOLOGY.format(a=topology[0], b=two.url("b")))
    ran = run_forked("up", cwd=tmp_path)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"understudy: the address {two.url('b')} is in use by another")


def test_nodes_are_spawned_although_one_of_the_brokers_is_down(
    tmp_path: Path, two: Two, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "app.py").write_text(APP)
    two.running.pop("b").stop()
    args = ("spawn", "app:runtime", "--group", "g", "--nodes", "2")
    with Forked(*args, cwd=tmp_path, UNDERSTUDY_URL=two.url("a")) as spawn:
        spawn.wait_for("up: ")
        a, _ = json.loads(printed(capsys, 1, "brokers", "--url", two.url("a"), "--json"))
        assert a["nodes"] == 2
        two.running["b"] = two.start("b", two.slots)
        client = Runtime(group="tests", url=two.url("a"), connect_timeout=PATIENCE_S)
        with stopped_at_the_end(client):
            [there] = ids_of("b", 1)
            call = client.options(target="g").rpc(there, "greet", "there")
            assert call.result(PATIENCE_S) == "hello there"
        assert spawn.stop() == 143
