"""Topology files with several brokers: their processes, addresses, and wrong tables."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from understudy_actors.processes import ProcessSpec
from understudy_actors.processes.topology import TopologyError, load_topology, processes

TWO = """
[[broker]]
name = "a"
listen = "tcp://127.0.0.1:5577"
lease_ttl_s = 2.5

[[broker]]
name = "b"
listen = "tcp://*:5578"
address = "tcp://10.0.0.6:5578"
log_format = "json"
cwd = "data"

[[group]]
name = "orders"
app = "shop:runtime"

[[process]]
name = "gateway"
command = ["python", "-m", "shop.gateway"]
"""


def load(folder: Path, text: str) -> list[ProcessSpec]:
    (folder / "data").mkdir(exist_ok=True)
    (folder / "topology.toml").write_text(text)
    return processes(load_topology(folder / "topology.toml"))


def named(name: str, port: int) -> str:
    return f'[[broker]]\nname = "{name}"\nlisten = "tcp://127.0.0.1:{port}"\n'


def anywhere(name: str) -> str:
    return f'[[broker]]\nname = "{name}"\nlisten = "tcp://*:1"\naddress = "tcp://{name}:1"\n'


def test_each_broker_is_a_process_that_reads_its_table(tmp_path: Path) -> None:
    a, b, *others = load(tmp_path, TWO)
    assert [a.name, b.name] == ["broker-a", "broker-b"]
    command = [sys.executable, "-m", "understudy", "broker"]
    file = str(tmp_path / "topology.toml")
    assert a.argv == [*command, "--name", "a", "--config", file]
    assert b.argv == [*command, "--name", "b", "--config", file]
    assert [a.cwd, b.cwd] == [tmp_path, tmp_path / "data"]
    assert [spec.stage for spec in (a, b, *others)] == [0, 0, 1, 2]
    assert [spec.watches_lifeline for spec in (a, b)] == [True, True]


def test_all_addresses_are_told_to_nodes_and_programs(tmp_path: Path) -> None:
    _, _, node, gateway = load(tmp_path, TWO)
    url = {"UNDERSTUDY_URL": "tcp://127.0.0.1:5577,tcp://10.0.0.6:5578"}
    assert (node.env, gateway.env) == (url, url)


def test_the_log_format_of_the_file_is_not_overridden(tmp_path: Path) -> None:
    a, b, *_ = load(tmp_path, TWO)
    assert a.env == {}
    assert b.env == {"UNDERSTUDY_BROKER__LOG_FORMAT": "json"}


def test_one_table_alone_is_a_broker_with_a_name(tmp_path: Path) -> None:
    broker, node = load(tmp_path, named("a", 5599) + '[[group]]\nname = "g"\napp = "a:b"')
    assert broker.name == "broker-a"
    assert node.env == {"UNDERSTUDY_URL": "tcp://127.0.0.1:5599"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[broker]]", "broker[1].name: it is missing; each [[broker]] has a name of its own"),
        ('[[broker]]\nname = "a"', "broker[1] 'a'.listen: it is missing"),
        (named("a", 1) + named("a", 2), "broker: the name 'a' is used twice"),
        (named("a", 1) + named("b", 1), "broker: 'a' and 'b' have the same address"),
        (
            anywhere("a") + anywhere("b"),
            "broker: 'a' and 'b' both listen at tcp://*:1, on this machine; each broker needs a",
        ),
        (named("a", 1) + 'Lease = "x"', "broker[1] 'a'.Lease: a setting is a lower-case name"),
        (named("a", 1) + "lease = []", "broker[1] 'a'.lease: a setting is a lower-case name"),
        (named("a", 1) + 'cwd = "nowhere"', "broker[1] 'a'.cwd: there is no folder"),
        (named("a", 1) + 'store = "\\u0000"', "broker[1].store: '\\x00' holds a NUL character"),
        (
            named("a", 1) + '[[group]]\nname = "broker-a"\napp = "a:b"',
            "the name 'broker-a' is that of a broker's process; choose another",
        ),
        (
            named("a", 1) + '[[process]]\nname = "broker-a"\ncommand = ["x"]',
            "the name 'broker-a' is that of a broker's process; choose another",
        ),
        ('url = "tcp://x:1"\n' + named("a", 1), "url: remove it, because there is a [broker]"),
        ('[broker]\nname = "a"', "broker.name: remove it, because a single [broker] needs no"),
    ],
)
def test_errors_name_the_file_and_the_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'topology.toml'}: ")
    assert message in str(caught.value)
