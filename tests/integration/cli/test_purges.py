"""Purges by the command line: counts, taken ids, the archive, and the file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.commands import Cli, call
from understudy import Context, PurgedError, Runtime
from understudy.cli import main
from understudy_broker.core.config import BrokerConfig
from understudy_broker.server.embedded import EmbeddedBroker
from understudy_store.records import RetentionRules

DAY = 86_400_000


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    rules = RetentionRules(None, idempotency=90 * DAY)
    config = BrokerConfig(retention=rules, archive=str(tmp_path / "archive.jsonl"))
    with EmbeddedBroker(f"sqlite:///{tmp_path}/s.db", config=config) as broker:
        yield broker.endpoint


def test_what_has_ended_is_deleted_once_and_its_id_stays_taken(
    cli: Cli, url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "archive.jsonl"
    with Runtime(group="shop", url=url) as node:

        @node.register
        def double(ctx: Context, number: int) -> int:
            return 2 * number

        shop = node.options(target="shop")
        for number in range(70):
            shop.rpc(f"order-{number}", double, number)
        assert [shop.get(f"order-{number}").result(timeout=30) for number in range(70)]
        node.promises.create("approval")

        dry = call(cli, "promises", "purge", "--before", "0", "--dry-run")
        assert (dry["graphs"], dry["promises"], dry["kept"]) == (70, 70, {})
        assert not archive.exists()
        done = call(cli, "promises", "purge", "--before", "0", "--yes", "--prefix", "order-")
        assert done == dry
        assert call(cli, "promises", "purge", "--before", "0", "--yes")["graphs"] == 0
        lines = [json.loads(line) for line in archive.read_text().splitlines()]
        assert {line["id"] for line in lines} == {f"order-{number}" for number in range(70)}
        assert archive.stat().st_mode & 0o777 == 0o600

        with pytest.raises(PurgedError, match=r"order-7.*as resolved.*was purged"):
            shop.rpc("order-7", double, 7)
        with pytest.raises(PurgedError):
            node.promises.get("order-7")
        kept = shop.options(retention="never").rpc("order-99", double, 7)
        assert kept.result(timeout=30) == 14
        assert call(cli, "calls")["counts"] == {"resolved": 1}  # It is in the file now.

    code, _, _ = cli("promises", "get", "order-7")
    assert code == 1
    capfd.readouterr()
    assert main(["store", "stats", str(tmp_path / "s.db"), "--json"]) == 0
    stats = json.loads(capfd.readouterr().out)
    assert stats["tombstones"] == 70
    assert stats["promises"] == 2
    assert stats["functions"] == [["shop", "double", 1]]


def test_a_store_is_made_small_while_nobody_has_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.db"
    with EmbeddedBroker(f"sqlite:///{path}"):
        assert main(["store", "compact", str(path)]) == 1
    capfd.readouterr()
    assert main(["store", "compact", str(path)]) == 0
    assert "bytes now" in capfd.readouterr().out
    assert main(["store", "stats", str(tmp_path / "none.db")]) == 1
