"""Brokers that share one PostgreSQL: they join, leave and die, and calls go on."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.sdk.shared_brokers import Brokers, shares, shop
from tests.support import eventually, finish, start_script
from understudy import Runtime
from understudy.cli import main
from understudy_store.engines.postgres.writer import LEASE_S

if TYPE_CHECKING:
    from tests.cluster import Cluster


#: waits for calls of `asks`
CLIENT = """
import sys
from understudy import Runtime

with Runtime("clients", url=sys.argv[1]) as runtime:
    shop = runtime.options(target="shop")
    handles = [shop.rpc(f"waits-{n}", "asks") for n in range(30)]
    print([handle.result(timeout=60) for handle in handles])
"""


@pytest.fixture
def brokers(postgres: Cluster, tmp_path: Path) -> Iterator[Brokers]:
    brokers = Brokers(postgres.new_schema(), tmp_path)
    yield brokers
    brokers.kill()


@pytest.fixture
def node(brokers: Brokers) -> Iterator[Runtime]:
    brokers.start("a", "b")
    with shop(brokers.url, "node") as node:
        yield node


def test_calls_go_on_while_brokers_join_and_leave(brokers: Brokers, node: Runtime) -> None:
    eventually(lambda: shares(brokers) == {"a": 128, "b": 128}, 20)
    handles = [node.rpc(f"first-{n}", "total", 5) for n in range(60)]
    brokers.start("c")
    handles += [node.rpc(f"second-{n}", "total", 5) for n in range(60)]
    eventually(lambda: sorted(shares(brokers).values()) == [84, 86, 86], 30)
    handles += [node.rpc(f"third-{n}", "total", 5) for n in range(60)]
    brokers.end("a", signal.SIGTERM)
    eventually(lambda: shares(brokers) == {"b": 128, "c": 128}, 10)
    handles += [node.rpc(f"fourth-{n}", "total", 5) for n in range(60)]
    assert [handle.result(timeout=60) for handle in handles] == [22] * 240
    assert len(list(node.promises.search(limit=500))) == 240 * 8


def test_the_command_line_shows_what_each_has(
    brokers: Brokers, node: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    eventually(lambda: shares(brokers) == {"a": 128, "b": 128}, 20)
    assert node.rpc("call", "total", 3).result(timeout=20) == 8
    assert main(["brokers", "--json", "--url", brokers.url]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [(each["name"], each["slots"], each["nodes"]) for each in shown] == [
        ("a", 128, 1),
        ("b", 128, 1),
    ]
    assert all(0 <= each["beat_age_ms"] < 3_000 for each in shown)
    assert main(["brokers", "--url", brokers.url]) == 0
    assert "BEAT ms" in capsys.readouterr().out


def test_the_database_is_away_for_longer_than_a_lease(
    postgres: Cluster, brokers: Brokers, node: Runtime
) -> None:
    """Then each pulse is too old, but nobody is to blame: the same brokers go on."""
    eventually(lambda: shares(brokers) == {"a": 128, "b": 128}, 20)
    before = [node.rpc(f"before-{n}", "total", 5) for n in range(60)]
    with ThreadPoolExecutor() as callers:
        postgres.stop(signal.SIGQUIT)
        try:
            back_at = time.monotonic() + 2 * LEASE_S
            others = [callers.submit(node.rpc, f"while-{n}", "total", 5) for n in range(2)]
            eventually(lambda: time.monotonic() > back_at, 3 * LEASE_S)
            assert not any(call.done() for call in others), "nothing can be stored"
        finally:
            postgres.start()
        handles = before + [call.result() for call in others]
    assert [handle.result(timeout=60) for handle in handles] == [22] * 62
    assert [process.poll() for process in brokers.running.values()] == [None, None]
    eventually(lambda: shares(brokers) == {"a": 128, "b": 128}, 20)


def test_another_broker_takes_over_from_one_that_is_killed(brokers: Brokers, node: Runtime) -> None:
    eventually(lambda: shares(brokers) == {"a": 128, "b": 128}, 20)
    waiting = [node.rpc(f"waits-{n}", "asks") for n in range(20)]
    working = [node.rpc(f"works-{n}", "total", 5) for n in range(60)]
    brokers.end("a", signal.SIGKILL)
    assert [handle.result(timeout=60) for handle in working] == [22] * 60
    eventually(lambda: shares(brokers) == {"b": 256}, 20)
    for n in range(20):
        node.promises.resolve(f"people-waits-{n}.waits-{n}.1", n)
    assert [handle.result(timeout=60) for handle in waiting] == list(range(20))
    brokers.start("a")
    eventually(lambda: shares(brokers) == {"a": 128, "b": 128}, 30)
    assert node.get("works-7").result(timeout=10) == 22


def test_a_client_hears_of_results_from_a_broker_that_it_meets_late(
    brokers: Brokers, node: Runtime, tmp_path: Path
) -> None:
    """All slots that another broker was to get are there before the client connects to it."""
    eventually(lambda: shares(brokers) == {"a": 128, "b": 128}, 20)
    client = start_script(tmp_path / "client.py", CLIENT, brokers.url)
    try:
        eventually(lambda: len(list(node.promises.search(prefix="people-"))) == 30, 20)
        client.send_signal(signal.SIGSTOP)
        brokers.start("c")
        eventually(lambda: shares(brokers).get("c") in {84, 86}, 30)
        client.send_signal(signal.SIGCONT)
        for n in range(30):
            node.promises.resolve(f"people-waits-{n}.waits-{n}.1", n)
    finally:
        client.send_signal(signal.SIGCONT)
        code, out, err = finish(client)
    assert (code, out) == (0, f"{list(range(30))}\n"), err


def test_a_broker_that_was_paused_for_longer_than_its_lease_ends(
    brokers: Brokers, node: Runtime
) -> None:
    eventually(lambda: shares(brokers) == {"a": 128, "b": 128}, 20)
    brokers.running["a"].send_signal(signal.SIGSTOP)
    working = [node.rpc(f"works-{n}", "total", 5) for n in range(60)]
    assert [handle.result(timeout=60) for handle in working] == [22] * 60
    brokers.running["a"].send_signal(signal.SIGCONT)
    assert brokers.running.pop("a").wait(20) == 1
    assert "another broker has taken over from this one" in brokers.log("a")
