"""A store that fails by itself ends a broker that nobody asks for anything."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from understudy import Runtime
from understudy_broker.server.embedded import EmbeddedBroker
from understudy_store.engines.sqlite.database import Database
from understudy_store.errors import StoreError, StoreFailedError


def test_an_idle_broker_ends_when_its_journal_cannot_be_brought_into_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it goes on for hours, and only the next call is told."""
    ended = threading.Event()
    failed: list[BaseException] = []

    def on_failure(error: BaseException) -> None:
        failed.append(error)
        ended.set()

    def full(*_: object) -> None:
        raise StoreError("database or disk is full")

    path = tmp_path / "x.db"
    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", full)
        with EmbeddedBroker(str(path), on_failure=on_failure) as broker:
            with Runtime(group="g", url=broker.endpoint) as client:
                client.promises.create("kept", timeout=3600)
            # The follower tries about a second later; meanwhile no commit comes.
            assert ended.wait(20)
    [error] = failed
    assert isinstance(error, StoreFailedError)
    assert "All that was acknowledged is safe" in str(error)
    with EmbeddedBroker(str(path)) as broker, Runtime(group="g", url=broker.endpoint) as client:
        assert client.promises.get("kept").state == "pending"
