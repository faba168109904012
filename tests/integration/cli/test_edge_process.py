"""An edge runs beside a broker, again when it dies, and ends with it."""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.integration.cli.programs import Program, run
from tests.support import eventually, free_url
from understudy.bench.deployment import free_port

#: the environment of a broker with an edge; that of the tests has none
_WITH_EDGE = {"UNDERSTUDY_BROKER__HTTP": ""}


def _place() -> str:
    return f"127.0.0.1:{free_port()}"


def _is_ready(place: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://{place}/ready", trust_env=False).status_code == 200
    return False


def _pid_of_edge(place: str) -> int:
    """Return the process that listens at `place`, by its command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if f"edge\0--listen\0{place}\0" in path.read_text():
                return int(path.parent.name)
    return 0


def test_a_broker_keeps_an_edge_and_takes_it_along(tmp_path: Path) -> None:
    place = _place()
    args = ("broker", "--listen", free_url(), "--store", "memory", "--http", place)
    with Program(*args, cwd=tmp_path) as broker:
        broker.wait_for(f"understudy edge: http://{place}")
        eventually(lambda: _is_ready(place))
        os.kill(_pid_of_edge(place), signal.SIGKILL)
        broker.wait_for(f"understudy edge: http://{place}", 2)
        eventually(lambda: _is_ready(place))
        assert broker.output.count("has ended; it is started again") == 1
        assert broker.stop() == 0
    assert not _pid_of_edge(place)


def test_an_edge_ends_with_a_broker_that_is_killed(tmp_path: Path) -> None:
    place = _place()
    args = ("broker", "--listen", free_url(), "--store", "memory", "--http", place)
    with Program(*args, cwd=tmp_path) as broker:
        eventually(lambda: _is_ready(place))
        broker.process.kill()
        eventually(lambda: not _pid_of_edge(place))


def test_an_edge_outlives_its_broker_where_it_runs_by_itself(tmp_path: Path) -> None:
    place, url = _place(), free_url()
    with Program("edge", "--listen", place, "--url", url, cwd=tmp_path) as edge:
        edge.wait_for(f"understudy edge: http://{place} for the broker at {url}")
        edge.wait_for("no broker answers")
        assert httpx.get(f"http://{place}/health", trust_env=False).status_code == 200
        assert not _is_ready(place)
        with Program("broker", "--listen", url, "--store", "memory", cwd=tmp_path):
            eventually(lambda: _is_ready(place))
        eventually(lambda: not _is_ready(place))
        assert edge.stop() == 0


@pytest.mark.parametrize(
    "args", [("--no-http",), ("--http", "off"), ("--set", "http=off")], ids=["flag", "off", "set"]
)
def test_no_edge_where_none_is_wanted(tmp_path: Path, args: tuple[str, ...]) -> None:
    url = free_url()
    given = ("broker", "--listen", url, "--store", "memory", *args)
    with Program(*given, cwd=tmp_path, **_WITH_EDGE) as broker:
        broker.wait_for("listening on")
        assert broker.stop() == 0
    assert "edge" not in broker.output


@pytest.mark.parametrize(
    "text", ["nowhere", "127.0.0.1", "127.0.0.1:x", "::1:80", ":80", "a:70000"]
)
def test_an_address_that_is_none(tmp_path: Path, text: str) -> None:
    for args in (("edge", "--listen", text), ("broker", "--store", "memory", "--http", text)):
        ran = run(*args, cwd=tmp_path)
        assert ran.returncode == 2
        assert "is no address to listen at: write HOST:PORT" in ran.stderr


def test_an_address_in_use(tmp_path: Path) -> None:
    place, url = _place(), free_url()
    with Program("edge", "--listen", place, "--url", url, cwd=tmp_path) as edge:
        edge.wait_for("understudy edge: http")
        ran = run("edge", "--listen", place, "--url", url, cwd=tmp_path)
        assert ran.returncode == 1
        assert re.search(r"cannot listen at .*: Address already in use. Give another", ran.stderr)


@pytest.mark.parametrize("command", ["broker", "up"])
def test_the_edge_beside_a_broker_has_options_of_the_file(tmp_path: Path, command: str) -> None:
    place, grpc, url = _place(), _place(), free_url()
    file = tmp_path / "some.toml"
    file.write_text(
        f'[broker]\nlisten = "{url}"\nstore = "memory"\n'
        f'[edge]\nlisten = "{place}"\npush = "pay.example"\npush_key_file = "push.key"\n'
    )
    args = ("up", "some.toml") if command == "up" else ("broker", "--config", "some.toml")
    if command == "broker":
        ran = run(*args, cwd=tmp_path, **_WITH_EDGE)
        assert (ran.returncode, "key file push.key cannot be read" in ran.stderr) == (2, True)
    (tmp_path / "push.key").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    environment = {**_WITH_EDGE, "UNDERSTUDY_EDGE__GRPC": grpc}
    with Program(*args, cwd=tmp_path, **environment) as program:
        program.wait_for(f"understudy edge: grpc://{grpc}")
        eventually(lambda: _is_ready(place))
        program.stop()
    assert not _pid_of_edge(place)


def test_one_edge_for_all_brokers_of_a_topology(tmp_path: Path) -> None:
    place, first, second = _place(), free_url(), free_url()
    (tmp_path / "topology.toml").write_text(
        f'[[broker]]\nname = "a"\nlisten = "{first}"\nstore = "memory"\nhttp = "{place}"\n'
        f'[[broker]]\nname = "b"\nlisten = "{second}"\nstore = "memory"\n'
    )
    with Program("up", cwd=tmp_path, **_WITH_EDGE) as up:
        up.wait_for(f"HTTP at http://{place}")
        eventually(lambda: _is_ready(place))
        assert up.output.count("understudy edge: http") == 1
        assert up.stop() == 128 + signal.SIGTERM
    assert not _pid_of_edge(place)


def test_a_topology_whose_edge_has_no_place(tmp_path: Path) -> None:
    place = _place()
    (tmp_path / "topology.toml").write_text(
        f'[broker]\nlisten = "{free_url()}"\nstore = "memory"\nhttp = "{place}"\n'
    )
    with Program("edge", "--listen", place, "--url", free_url(), cwd=tmp_path) as edge:
        edge.wait_for("understudy edge: http")
        ran = run("up", cwd=tmp_path)
        assert ran.returncode == 1
        assert f"{place} is in use" in ran.stderr


def test_dev_has_an_edge(tmp_path: Path) -> None:
    place = _place()
    (tmp_path / "app.py").write_text(
        "from understudy import Runtime\nruntime = Runtime('greeters')\n"
        "@runtime.register\ndef greet(ctx, name):\n    return name\n"
    )
    with Program("dev", "app", "--listen", free_url(), "--http", place, cwd=tmp_path) as dev:
        eventually(lambda: _is_ready(place))
        assert dev.stop(signal.SIGINT) == 130
    assert not _pid_of_edge(place)
