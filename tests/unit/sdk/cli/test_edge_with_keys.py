"""The edge beside a broker with keys has a key of its own, or there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.cli import edge_keeper
from understudy.cli.edge_keeper import OFF, edge_with_keys
from understudy.cli.errors import CliError
from understudy.client.keys import NO_KEYS

KEYS = Path("/etc/understudy/keys")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.delenv("UNDERSTUDY_KEY", raising=False)
    monkeypatch.delenv("UNDERSTUDY_BROKER_KEY", raising=False)
    monkeypatch.setattr(edge_keeper, "missing", str)
    return []


def test_without_keys_the_edge_is_told_of_none(said: list[str]) -> None:
    assert edge_with_keys("127.0.0.1:1", None, said.append) == ("127.0.0.1:1", NO_KEYS)


def test_the_edge_has_the_key_of_the_environment(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_KEY", "edge.key")
    public = {"UNDERSTUDY_BROKER_KEY": f"{KEYS}/broker.pub"}
    assert edge_with_keys(None, KEYS, said.append) == (None, public)
    monkeypatch.setenv("UNDERSTUDY_BROKER_KEY", "other.pub")
    public = {"UNDERSTUDY_BROKER_KEY": "other.pub"}
    assert edge_with_keys(None, KEYS, said.append) == (None, public)
    assert said == []


def test_without_a_key_of_its_own_there_is_no_edge(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert edge_with_keys(OFF, KEYS, said.append)[0] == OFF
    assert said == []
    assert edge_with_keys(None, KEYS, said.append)[0] == OFF
    [text] = said
    assert "needs a key of its own" in text
    with pytest.raises(CliError, match="needs a key of its own"):
        edge_with_keys("127.0.0.1:1", KEYS, said.append)
    # Where no edge would run anyway, nothing is missed.
    monkeypatch.setattr(edge_keeper, "missing", lambda: "hypercorn")
    assert edge_with_keys(None, KEYS, said.append)[0] == OFF
    assert len(said) == 1
