"""Metrics and health of real programs: a broker, a node, an edge, and what blocks them."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.cli.programs import Forked, run_forked, wait_until
from tests.support import eventually, free_url
from understudy import Runtime
from understudy.cli import main
from understudy.errors import ConfigurationError
from understudy_broker.core.config import BrokerConfig
from understudy_broker.monitoring.address import Place
from understudy_broker.monitoring.listener import bind
from understudy_broker.protocol.messages import GroupsGet
from understudy_broker.server.server import serve
from understudy_store.store import open_store

APP = """
import time
from pathlib import Path

import understudy.client.node_monitor
from understudy import Runtime
from understudy_broker.protocol.messages import GroupsGet

understudy.client.node_monitor.BLOCKED_S = 0.5
runtime = Runtime("g", concurrency=2)

@runtime.register
def add(ctx, a, b):
    return a + b

@runtime.register
def tree(ctx, n):
    total = 0
    for i in range(n):
        total = yield ctx.rpc(add, total, i)
    return total

@runtime.register
async def blocks_loop(ctx, until):
    while not Path(until).exists():
        time.sleep(0.01)  # this line

@runtime.register
def blocks_worker(ctx, until):
    while not Path(until).exists():
        time.sleep(0.01)
"""
ANY = "127.0.0.1:0"
_SHOWN = re.compile(r"http://(127\.0\.0\.1:\d+)/metrics")


class World:
    """A broker, a node of group g and an edge, with their places."""

    def __init__(self, folder: Path, url: str, programs: list[Forked]) -> None:
        self.folder = folder
        self.url = url
        self.broker, self.node, self.edge = programs
        self.places = [self._place(program) for program in programs]

    def _place(self, program: Forked) -> str:
        program.wait_for("/metrics")
        found = _SHOWN.search(program.output)
        assert found, program.output
        return found[1]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "app.py").write_text(APP)
    url = free_url()
    to_broker = ("--url", url, "--metrics", ANY)
    with (
        Forked("broker", "--listen", url, "--metrics", ANY, cwd=tmp_path) as broker,
        Forked("node", "app:runtime", "--id", "n", *to_broker, cwd=tmp_path) as node,
        Forked("edge", "--listen", ANY, *to_broker, cwd=tmp_path) as edge,
    ):
        node.wait_for("node n of group g serves")
        yield World(tmp_path, url, [broker, node, edge])


def ask(place: str, path: str) -> tuple[int, str]:
    answer = httpx.get(f"http://{place}{path}", trust_env=False, timeout=10)
    return answer.status_code, answer.text


def numbers(place: str) -> dict[tuple[str, ...], float]:
    """Return each number of a page by its name and the values of its labels."""
    status, text = ask(place, "/metrics")
    assert status == 200, text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_programs_show_what_they_do_and_how_they_are(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    broker, node, edge = world.places
    with Runtime("tests", url=world.url) as runtime:
        calls = runtime.options(target="g")
        assert calls.rpc("t", "tree", 10).result() == 45
        found = numbers(broker)
        assert found["understudy_calls_created_total", "g", "add"] == 10
        assert found["understudy_calls_settled_total", "g", "add", "resolved"] == 10
        assert found["understudy_call_duration_seconds_count", "g", "tree", "resolved"] == 1
        assert found["understudy_schedule_to_start_seconds_count", "g", "0"] >= 11
        assert found["understudy_group_nodes", "g"] == 1
        eventually(lambda: numbers(broker)["understudy_peers", "edge"] == 1)
        assert found["understudy_commit_seconds_count",] > 0
        assert found["understudy_journal_bytes",] > 0
        assert found["understudy_disk_free_bytes",] > 0
        found = numbers(node)
        assert found["understudy_execution_seconds_count", "g", "add"] == 10
        assert found["understudy_node_connected",] == 1
        assert ask(edge, "/ready") == (200, "ready\n")
        for place in world.places:
            for path in ("/health", "/live", "/ready"):
                assert ask(place, path)[0] == 200, (place, path)

        _check_a_blocked_loop(world, calls, node)
        _check_blocked_workers(world, calls, node)
    capfd.readouterr()
    assert main(["health", "--http", node]) == 0
    assert main(["health", "--url", world.url, "--json"]) == 0
    out = capfd.readouterr().out.splitlines()
    assert out[0] == "healthy"
    assert json.loads(out[1])["healthy"]
    _check_a_broker_that_stands_still(world, capfd)


def _check_a_blocked_loop(world: World, calls: Runtime, node: str) -> None:
    gate = world.folder / "gate-1"
    handle = calls.rpc("blocked", "blocks_loop", str(gate))
    eventually(lambda: ask(node, "/live")[0] == 503)
    line = 1 + APP.splitlines().index("        time.sleep(0.01)  # this line")
    text = f"s by {world.folder / 'app.py'}:{line} in blocks_loop"
    assert text in ask(node, "/health")[1]
    eventually(lambda: numbers(node)["understudy_node_blocked_seconds", "trio"] >= 1)
    assert ask(world.places[0], "/health")[0] == 200
    # The broker is told of it, and so is whoever asks the broker.
    said = f"its trio loop is blocked by {world.folder / 'app.py'}:{line} in blocks_loop"
    eventually(lambda: said in blocked(calls))
    gate.touch()
    handle.result()
    eventually(lambda: ask(node, "/health")[0] == 200)
    eventually(lambda: not blocked(calls))


def blocked(calls: Runtime) -> str:
    """What keeps the nodes from their work, as the broker knows it."""
    report = calls.session.connected().command(GroupsGet()).result(10).report
    assert report is not None
    return "; ".join(
        filter(None, (node.blocked for group in report.groups for node in group.nodes))
    )


def _check_blocked_workers(world: World, calls: Runtime, node: str) -> None:
    gate = world.folder / "gate-2"
    handles = [calls.rpc(f"busy-{n}", "blocks_worker", str(gate)) for n in range(3)]
    eventually(lambda: ask(node, "/health")[0] == 503)
    assert "all worker threads have been in functions for" in ask(node, "/health")[1]
    assert ask(node, "/live")[0] == 200, "a restart would lose their work"
    gate.touch()
    for handle in handles:
        handle.result()
    eventually(lambda: ask(node, "/health")[0] == 200)


def _check_a_broker_that_stands_still(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    broker = world.places[0]
    world.broker.process.send_signal(signal.SIGSTOP)
    try:
        assert main(["health", "--http", broker, "--timeout", "0.2"]) == 1
        assert "no answer within 0.2 s" in capfd.readouterr().err
    finally:
        world.broker.process.send_signal(signal.SIGCONT)
    world.broker.process.kill()
    wait_until(lambda: ask(world.places[1], "/health")[0] == 503, lambda: world.node.output)
    assert ask(world.places[1], "/health")[1] == "unhealthy: no broker answers\n"
    assert main(["health", "--http", broker]) == 1


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with bind(Place("127.0.0.1", 0)) as sock:
        taken = Place(*sock.getsockname())
        # Asked for, it must be had.
        args = ("broker", "--listen", free_url(), "--store", "memory", "--metrics", str(taken))
        done = run_forked(*args, cwd=tmp_path)
        assert done.returncode == 1
        assert f"cannot show metrics at {taken}: Address already in use" in done.stderr
        runtime = Runtime("g", url=free_url(), metrics=str(taken))
        with pytest.raises(ConfigurationError, match="cannot show metrics at"):
            runtime.start()
        runtime.stop()
        # By default it need not.
        said: list[str] = []
        trio.run(_serve_for_a_moment, taken, said)
    assert any("The broker runs without" in text for text in said), said


async def _serve_for_a_moment(place: Place, said: list[str]) -> None:
    store = open_store("memory")
    stop = trio.Event()
    await serve(
        store,
        BrokerConfig(),
        "tcp://127.0.0.1:0",
        stop=stop,
        log=lambda level, text, fields: said.append(text),
        metrics=place,
        metrics_required=False,
        on_started=lambda _: stop.set(),
    )
    store.close()
