"""Lists of calls and their attempts, by the command line and in Python, over a store in a file."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.commands import Cli, call
from understudy import ConfigurationError, Constant, Context, Runtime
from understudy_broker.server.embedded import EmbeddedBroker


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with EmbeddedBroker(f"sqlite:///{tmp_path}/s.db") as broker:
        yield broker.endpoint


def test_what_runs_what_failed_and_what_attempts_said(cli: Cli, url: str) -> None:
    with Runtime(group="shop", id="shop-1", url=url) as node:

        @node.register(retry=Constant(0.01, 3))
        def pay(ctx: Context, times: int) -> int:
            if ctx.info.attempt <= times:
                raise ConnectionError(f"the bank is closed ({ctx.info.attempt})")
            return ctx.info.attempt

        @node.register
        def order(ctx: Context, number: int) -> Generator[Any, Any, str]:
            yield ctx.rpc(pay, number)
            answer = yield ctx.promise(id=f"{ctx.id}.answer")
            return str((yield answer))

        made = node.options(target="shop", tags={"customer": "ann"})
        waiting = made.rpc("order-1", order, 2)
        with pytest.raises(ConnectionError):
            node.options(target="shop").rpc("order-2", order, 9).result(timeout=30)
        made.rpc("pay-3", pay, 0).result(timeout=30)
        node.options(target="nobody").rpc("lost-4", "lost")

        listed = call(cli, "calls")
        assert [each["id"] for each in listed["calls"]] == ["lost-4", "pay-3", "order-2", "order-1"]
        assert listed["counts"] == {"pending": 2, "resolved": 1, "rejected": 1}
        [failed] = call(cli, "calls", "--failed", "--since", "1h")["calls"]
        assert (failed["id"], failed["error_class"]) == ("order-2", "ConnectionError")
        assert (failed["function"], failed["group"], failed["node"]) == ("order", "shop", "shop-1")
        assert failed["started_at"] >= failed["created_at"]
        page = call(cli, "calls", "--limit", "1", "--running")
        assert page["calls"][0]["id"] == "lost-4"
        rest = call(cli, "calls", "--running", "--cursor", page["cursor"])["calls"]
        assert [each["id"] for each in rest] == ["order-1"]
        for options, ids in (
            (("--function", "pay"), "pay-3"),
            (("--group", "nobody"), "lost-4"),
            (("--tag", "customer=ann", "--running"), "order-1"),
            (("--error", "ConnectionError"), "order-2"),
            (("--slow", "1h"), ""),
            (("--until", "1h"), ""),
        ):
            found = call(cli, "calls", *options)["calls"]
            assert " ".join(each["id"] for each in found) == ids, options

        _, out, _ = cli("calls", "--limit", "3")
        lines = out.splitlines()
        assert lines[1].split()[:4] == ["lost-4", "queued", "lost", "nobody"]
        assert "order-2  rejected  order" in out
        assert lines[-2] == "4 calls: 2 pending, 1 resolved, 1 rejected"
        assert "--cursor" in lines[-1]
        assert cli("calls", "--state", "lost")[0] == 2

        _, out, _ = cli("tree", "order-2", "--attempts")
        assert "! 1 raised on shop-1" in out
        assert "attempt 2 of 3 failed: ConnectionError: the bank is closed (2)" in out
        data = call(cli, "tree", "order-1", "--attempts")
        assert [each["text"] for each in data["children"][0]["attempt_log"]] == [
            f"attempt {n} of 3 failed: ConnectionError: the bank is closed ({n})" for n in (1, 2)
        ]

        found_calls = [each.id for each in node.calls.search(state="failed", since=3600)]
        assert found_calls == ["order-2"]
        since = timedelta(hours=1)
        assert node.calls.count(function="order", since=since) == {"pending": 1, "rejected": 1}
        first, *_, last = node.calls.attempts("order-2.1")
        assert (first.number, first.end, first.node, last.end) == (1, "raised", "shop-1", "raised")
        assert (last.error, last.text, last.number) == ("ConnectionError", None, 3)
        with pytest.raises(ConfigurationError, match="state='lost'"):
            node.calls.search(state="lost")
        node.promises.resolve("order-1.answer", "yes")
        assert waiting.result(timeout=30) == "yes"
