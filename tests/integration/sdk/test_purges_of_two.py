"""A call graph over two brokers with a SQLite store each: it is deleted at both, in its order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.sdk.brokers import Two
from tests.support import eventually, free_url
from understudy import Context, PurgedError, Runtime
from understudy.cli import main
from understudy.cli.client import Client
from understudy_broker.core import retention, strays
from understudy_broker.protocol.placement import shared_out
from understudy_store.commands import PromisePurge
from understudy_store.records import RetentionRules

DAY = 86_400_000


@pytest.fixture
def brokers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    for name in ("FIRST_MS", "IDLE_MS"):
        monkeypatch.setattr(retention, name, 50)
    for name in ("WHOLE_MS", "AFTER_PURGE_MS"):
        monkeypatch.setattr(strays, name, 50)
    two = Two(shared_out([("a", free_url()), ("b", free_url())]), tmp_path, {})
    for name in "ab":
        rules = RetentionRules(default=DAY, functions={"at_once": 0}, idempotency=90 * DAY)
        two.start(name, retention=rules)
    yield two
    for broker in two.running.values():
        broker.stop()


def stats_of(url: str, capfd: pytest.CaptureFixture[str]) -> Any:
    capfd.readouterr()
    assert main(["store", "stats", "--url", url, "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def test_members_at_the_other_broker_go_once_the_root_has(
    brokers: Two, capfd: pytest.CaptureFixture[str]
) -> None:
    [root, soon], [there, invoice] = brokers.ids("a", 2), brokers.ids("b", 2)
    with Runtime("shop", "node", url=brokers.url("a")) as node:

        @node.register
        def double(_: Context, n: int) -> int:
            return 2 * n

        @node.register
        def order(ctx: Context) -> Any:
            first = yield ctx.rpc(double, 1).options(home=there)
            second = yield ctx.rpc(double, 2).options(id=invoice)
            return first + second + (yield ctx.rpc(double, 3))

        node.register(order, name="at_once")

        def ids() -> set[str]:
            return {record.id for record in node.promises.search()}

        assert node.rpc(root, "order").result(timeout=20) == 12
        members = ids()
        assert {each.partition(".")[0] for each in members} == {root, there, invoice}
        stats = stats_of(brokers.url("b"), capfd)
        assert (stats["promises"], stats["pending"], stats["tombstones"]) == (4, 0, 0)
        assert stats["functions"] == [["shop", "order", 1]]
        assert stats["file_bytes"] == sum(
            (brokers.directory / f"{name}.db").stat().st_size for name in "ab"
        )
        # By hand, at both brokers at once. While the client is still owed the result, nothing goes.
        with Client(brokers.url("a")) as client:

            def is_purged() -> bool:
                purged = client.command(PromisePurge(2**50)).purged
                assert purged is not None
                [found] = purged
                assert found.id == root
                return found.kept is None

            eventually(is_purged)
        eventually(lambda: not ids())
        for id_ in (root, invoice):
            with pytest.raises(PurgedError):
                node.rpc(id_, double, 1)

        # By the rules: those of the function that the other broker's members cannot tell.
        [there, invoice] = brokers.ids("b", 4)[2:]
        assert node.rpc(soon, "at_once").result(timeout=20) == 12
        eventually(lambda: not ids())
        with pytest.raises(PurgedError):
            node.rpc(invoice, double, 1)
        # For each root, its chosen call, and the one at a chosen home.
        stats = stats_of(brokers.url("a"), capfd)
        assert (stats["promises"], stats["tombstones"]) == (0, 6)
