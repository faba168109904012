"""Quotas with the real SDK: what is over a limit waits, is told, and is lost by nobody."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.programs import Forked
from tests.support import eventually, free_url
from understudy import Context, Runtime
from understudy.cli import main

ROLES = """
[role.slow]
serve = ["*"]
call = ["*"]
ids = ["*"]
limits = { commands = 300, burst = 100, pending = 20 }
"""


@pytest.fixture
def runtimes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Runtime]]:
    """A node and a client of one identity, at a broker that limits it."""
    monkeypatch.delenv("UNDERSTUDY_KEY", raising=False)
    tmp_path.chmod(0o755)
    keys = tmp_path / "keys"
    assert main(["keys", "init", "--folder", str(keys)]) == 0
    with (keys / "rights.toml").open("a") as rights:
        rights.write(ROLES)
    assert main(["keys", "new", "us", "--role", "slow", "--folder", str(keys)]) == 0
    url = free_url()
    argv = ("--listen", url, "--store", f"sqlite:///{tmp_path}/s.db", "--keys", str(keys))
    with Forked("broker", *argv, "--no-http", cwd=tmp_path) as broker:
        broker.wait_for("listening on")
        made = [
            Runtime(url=url, group=group, key=keys / "us.key", broker_key=keys / "broker.pub")
            for group in ("g", "clients")
        ]
        yield made
        for runtime in made:
            runtime.stop()


def test_what_is_over_a_limit_waits_and_nothing_is_lost(
    runtimes: list[Runtime], caplog: pytest.LogCaptureFixture
) -> None:
    node, client = runtimes
    may_end = threading.Event()

    @node.register
    def leaf(_: Context, number: int) -> int:
        may_end.wait(60)
        return number

    @node.register
    def tree(ctx: Context, count: int) -> Any:
        handles = []
        for number in range(count):
            handles.append((yield ctx.rfi("echo", number)))  # noqa: PERF401
        total = 0
        for handle in handles:
            total += yield handle
        return total

    @node.register
    def echo(_: Context, number: int) -> int:
        return number

    node.start()
    at_node = client.options(target="g")
    with caplog.at_level(logging.WARNING, "understudy"):
        # More than may be pending: those who make the rest wait, until the first have ended.
        results: list[int] = []
        threads = [
            threading.Thread(
                target=lambda n=n: results.append(at_node.rpc(f"leaf-{n}", "leaf", n).result(60))
            )
            for n in range(30)
        ]
        for thread in threads:
            thread.start()
        eventually(lambda: "limit of 20 pending promises" in caplog.text)
        may_end.set()
        for thread in threads:
            thread.join(60)
    assert sorted(results) == list(range(30))
    assert "the broker lets this process wait: 'us' has reached" in caplog.text
    # A function may make more calls than that, and more commands than a second has.
    assert at_node.rpc("tree-1", "tree", 35).result(60) == sum(range(35))
