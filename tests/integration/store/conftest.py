"""A store whose journal is small, for the tests that look at it from inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.store.journal_world import NEVER_S, bring_in_after, shrink
from understudy_store.engines.sqlite.engine import SqliteEngine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


@pytest.fixture
def small_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Halves of the journal change after a few commits."""
    shrink(monkeypatch)


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file gets nothing until something asks for it."""
    bring_in_after(monkeypatch, NEVER_S)


@pytest.fixture
def engine(path: Path) -> Iterator[SqliteEngine]:
    engine = SqliteEngine(path)
    engine.load()
    yield engine
    engine.close()
