"""Topology files: their processes, and the errors of wrong ones."""

import sys
from pathlib import Path

import pytest

from understudy_actors.processes import ProcessSpec
from understudy_actors.processes.topology import TopologyError, load_topology, processes

WHOLE = """
[broker]
listen = "tcp://127.0.0.1:5599"
store = "sqlite:///calls.db"
lease_ttl_s = 2.5
http = false

[[group]]
name = "service-a"
app = "examples.async_rpc.service_a:runtime"
nodes = 2
env = { SLOW = "1" }

[[group]]
name = "service-b"
app = "service_b:runtime"

[[process]]
name = "gateway"
command = ["python", "-m", "examples.async_rpc.gateway"]
env = { PORT = "5000" }
"""


def _load(tmp_path: Path, text: str) -> list[ProcessSpec]:
    file = tmp_path / "topology.toml"
    file.write_text(text)
    return processes(load_topology(file))


def test_the_broker_comes_first_then_nodes_then_programs(tmp_path: Path) -> None:
    specs = _load(tmp_path, WHOLE)
    assert [spec.name for spec in specs] == [
        "broker",
        "service-a/1",
        "service-a/2",
        "service-b/1",
        "gateway",
    ]
    # They are stopped in the reverse order: callers first, the broker last.
    assert [spec.stage for spec in specs] == [0, 1, 1, 1, 2]
    assert {spec.cwd for spec in specs} == {tmp_path}


def test_command_lines(tmp_path: Path) -> None:
    broker, first, second, _, gateway = _load(tmp_path, WHOLE)
    understudy = [sys.executable, "-m", "understudy"]
    assert broker.argv == [
        *understudy,
        "broker",
        "--listen",
        "tcp://127.0.0.1:5599",
        "--store",
        "sqlite:///calls.db",
        "--set",
        "lease_ttl_s=2.5",
        "--set",
        "http=false",
    ]
    app = "examples.async_rpc.service_a:runtime"
    node = [*understudy, "node", app, "--group", "service-a"]
    assert (first.argv, first.own_args) == (node, ("--id", "service-a-1"))
    assert (second.argv, second.own_args) == (node, ("--id", "service-a-2"))
    assert first.forks
    assert not broker.forks
    assert not gateway.forks
    assert gateway.argv == [sys.executable, "-m", "examples.async_rpc.gateway"]


def test_environments(tmp_path: Path) -> None:
    broker, first, _, other, gateway = _load(tmp_path, WHOLE)
    url = {"UNDERSTUDY_URL": "tcp://127.0.0.1:5599"}
    assert broker.env == {}
    assert first.env == url | {"SLOW": "1"}
    assert other.env == url
    assert gateway.env == url | {"PORT": "5000"}


def test_only_other_programs_do_not_watch_the_lifeline(tmp_path: Path) -> None:
    assert [spec.watches_lifeline for spec in _load(tmp_path, WHOLE)] == [True] * 4 + [False]


def test_a_broker_with_defaults_alone(tmp_path: Path) -> None:
    (broker,) = _load(tmp_path, "[broker]")
    assert broker.argv[-2:] == ["--listen", "tcp://127.0.0.1:5577"]


def test_each_node_shows_its_metrics_at_a_port_of_its_own(tmp_path: Path) -> None:
    text = _group(nodes="3", metrics='"9101"')
    args = [spec.own_args for spec in _load(tmp_path, text)]
    assert [each[-2:] for each in args] == [
        ("--metrics", f"127.0.0.1:{port}") for port in (9101, 9102, 9103)
    ]


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("tcp://*:5577", "tcp://127.0.0.1:5577"),
        ("tcp://0.0.0.0:5577", "tcp://127.0.0.1:5577"),
        ("tcp://[::]:5577", "tcp://[::1]:5577"),
        ("tcp://broker.example:5577", "tcp://broker.example:5577"),
        ("ipc:///run/understudy.sock", "ipc:///run/understudy.sock"),
    ],
)
def test_nodes_find_a_broker_wherever_it_listens(tmp_path: Path, listen: str, url: str) -> None:
    text = f'[broker]\nlisten = "{listen}"\n[[group]]\nname = "a"\napp = "a:b"'
    assert _load(tmp_path, text)[1].env == {"UNDERSTUDY_URL": url}


def test_a_broker_that_runs_elsewhere(tmp_path: Path) -> None:
    group = '[[group]]\nname = "a"\napp = "a:b"'
    (node,) = _load(tmp_path, f'url = "tcp://10.0.0.1:5577"\n{group}')
    assert node.env == {"UNDERSTUDY_URL": "tcp://10.0.0.1:5577"}
    (node,) = _load(tmp_path, group)
    assert node.env == {}


def test_folders_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "topology.toml").write_text(
        'cwd = ".."\n[broker]\n[[group]]\nname = "a"\napp = "a:b"\ncwd = "deep/er"'
    )
    broker, node = processes(load_topology(tmp_path / "deep" / "topology.toml"))
    assert broker.cwd == tmp_path
    assert node.cwd == tmp_path / "deep" / "er"


def test_understudy_as_a_program(tmp_path: Path) -> None:
    (spec,) = _load(tmp_path, '[[process]]\nname = "x"\ncommand = ["understudy", "groups"]')
    assert spec.argv == [sys.executable, "-m", "understudy", "groups"]


def _group(**changes: str) -> str:
    entry = {"name": '"a"', "app": '"a:b"'} | changes
    return "[[group]]\n" + "\n".join(f"{key} = {value}" for key, value in entry.items() if value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is nothing to run"),
        ("[broker", "is not TOML"),
        ("[borker]", "unknown key 'borker'; allowed are broker, edge, url, cwd, group, process"),
        ("broker = 1", "broker: must be a table"),
        ('[broker]\nlisten = "localhost"', "broker.listen: 'localhost' is no address"),
        ('[broker]\nlisten = "tcp://x:0"', "a port from 1 to 65535"),
        ('[broker]\nlisten = "tcp://x:70000"', "a port from 1 to 65535"),
        ('[broker]\nlisten = "inproc://x"', "an address looks like tcp://127.0.0.1:5577"),
        ("[broker]\nlisten = 5577", "broker.listen: Expected `str`, got `int`"),
        ("[broker]\nLease = 1", "broker.Lease: a setting is a lower-case name"),
        ("[broker]\nlease = []", "broker.lease: a setting is a lower-case name with a string"),
        ('url = "nowhere"\n' + _group(), "url: 'nowhere' is no address"),
        ('url = "tcp://x:1"\n[broker]', "url: remove it, because there is a [broker]"),
        ("[group]\nx = 1", "group: must be an array of tables, written [[group]]"),
        (_group(app=""), "group[1] 'a': Object missing required field `app`"),
        (_group(name=""), "group[1]: Object missing required field `name`"),
        (_group(app='"service_a"'), "group[1] 'a'.app: 'service_a' is not of the form module:"),
        (_group(nodes="0"), "group[1] 'a'.nodes: Expected `int` >= 1"),
        (_group(nodes="5000"), "group[1] 'a'.nodes: Expected `int` <= 1000"),
        (_group(nodes='"2"'), "group[1] 'a'.nodes: Expected `int`, got `str`"),
        (_group(node="2"), "unknown key 'node'; allowed are name, app, nodes, metrics, env, cwd"),
        (_group(metrics='"host"'), "group[1] 'a'.metrics: 'host' is no address for metrics"),
        (_group(env="{ A = 1 }"), "group[1] 'a'.env[...]: Expected `str`, got `int`"),
        (_group(env='{ "A=B" = "x" }'), "group[1] 'a'.env: 'A=B' cannot name a variable"),
        (_group(env='{ "" = "x" }'), "group[1] 'a'.env: '' cannot name a variable"),
        (_group(env='{ A = "x\\u0000" }'), "group[1].env.A: 'x\\x00' holds a NUL character"),
        (_group(cwd='"a\\u0000"'), "group[1].cwd: 'a\\x00' holds a NUL character"),
        ('[broker]\nstore = "\\u0000"', "broker.store: '\\x00' holds a NUL character"),
        ('[[process]]\nname = "p"\ncommand = ["\\u0000"]', "process[1].command[1]: '\\x00' holds"),
        (_group(cwd='"nowhere"'), "group[1] 'a'.cwd: there is no folder"),
        (_group(name='"a b"'), "'a b' is not valid"),
        (_group(name='"broker"'), "'broker' is taken"),
        (_group() + "\n" + _group(), "the name 'a' is used twice"),
        (_group() + '\n[[process]]\nname = "a"\ncommand = ["x"]', "the name 'a' is used twice"),
        ('[[process]]\nname = "p"\ncommand = []', "process[1] 'p'.command: Expected `array` of"),
        ('[[process]]\nname = "p"\ncommand = "x"', "process[1] 'p'.command: Expected `array`"),
    ],
)
def test_errors_name_the_file_and_the_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TopologyError) as caught:
        _load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'topology.toml'}: ")
    assert message in str(caught.value)


def test_an_edge_has_its_options_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "topology.toml"
    file.write_text('[broker]\n[edge]\ngrpc = "127.0.0.1:8003"')
    assert load_topology(file).edge_file == file.resolve()
    file.write_text("[broker]")
    assert load_topology(file).edge_file is None
    file.write_text(f"[edge]\n{_group()}")
    with pytest.raises(TopologyError, match="an edge runs only where there is a"):
        load_topology(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match=r"none\.toml: cannot be read: No such file"):
        load_topology(tmp_path / "none.toml")
