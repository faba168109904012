"""A store that an earlier version left behind when it was killed, opened by this one."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.integration.store.old_stores import app
from tests.integration.store.old_stores.make import LAST, like_records
from understudy import Runtime
from understudy_broker.core.config import BrokerConfig
from understudy_broker.server.embedded import EmbeddedBroker

HERE = Path(__file__).parent / "old_stores"


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """The folder of the store as the kill left it."""
    with tarfile.open(HERE / "killed-87cb738.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    # At that time others might read it.
    (tmp_path / "store.db").chmod(0o600)
    return tmp_path


@contextmanager
def opened(left: Path) -> Iterator[Runtime]:
    """A client of a broker of today on that store."""
    config = BrokerConfig(boot_grace_ms=100)
    with (
        EmbeddedBroker(f"sqlite:///{left}/store.db", config=config) as broker,
        Runtime(url=broker.endpoint) as client,
    ):
        yield client
    assert broker.error is None


@contextmanager
def node(url: str) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, str(HERE / "app.py")], env=os.environ | {"UNDERSTUDY_URL": url}
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_the_file_alone_lacks_what_was_acknowledged_last(left: Path) -> None:
    """Otherwise the test below would say nothing about the journal."""
    with closing(sqlite3.connect(left / "store.db")) as file:
        assert file.execute("SELECT version_num FROM alembic_version").fetchall() == [("0003",)]
        assert file.execute("SELECT id FROM promise WHERE id LIKE 'last-%'").fetchall() == []


def test_everything_that_was_acknowledged_is_there(left: Path) -> None:
    results = json.loads((left / "acknowledged.json").read_text())
    for _ in range(2):  # as the upgrade leaves it, and as a stop in order does
        with opened(left) as client:
            for id in ("priced-0", "priced-1", "priced-2"):
                assert client.promises.get(id).value() == results[id]
            with pytest.raises(ValueError, match=results["failed"]):
                client.promises.get("failed").value()
            assert client.promises.get("hostile").param() == like_records()
            for number in range(LAST):
                last = client.promises.get(f"last-{number}")
                assert (last.param(), last.state, last.value()) == (
                    (number, "resolved", [number, "done"])
                    if number % 2
                    else (number, "pending", None)
                )
            assert client.schedules.get("yearly").function == "price"
            assert client.promises.get("held").state == "pending"


def test_its_calls_go_on(left: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "understudy")
    with opened(left) as client:
        # It would hold its node for an hour.
        assert client.promises.cancel("held").state == "canceled"
        again = client.options(target="old", timeout=app.FOREVER_S)
        handle = again.rpc("checkout", app.checkout, app.Order(7, ("pen", "ink")))
        client.promises.resolve("checkout.2", "yes")
        with node(client.url):
            receipt = handle.result(timeout=30)
            new = again.rpc("new", app.price, app.Order(8, ("cup",))).result(timeout=30)
        created_s = client.promises.get("checkout").created_at.timestamp()
        settled_s = client.promises.get("checkout.1").settled_at
    assert new == 10
    assert receipt.order == app.Order(7, ("pen", "ink"))
    assert (receipt.cost, receipt.decision) == (20, "yes")
    # The replay knows the time of the step that the old version made.
    assert settled_s is not None
    assert created_s <= receipt.began <= settled_s.timestamp()
    # The arguments are those that the old version had written.
    assert "arguments" not in caplog.text
