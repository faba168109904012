"""Journals whose halves are small."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.store.engines.sqlite.journals import BLOCKS, STORE
from understudy_store.engines.sqlite import journal
from understudy_store.engines.sqlite.journal import BLOCK_BYTES, Journal


@pytest.fixture
def small_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "HALF_BYTES", BLOCKS * BLOCK_BYTES)
    monkeypatch.setattr(journal, "RECORD_BYTES_MAX", 4 * BLOCK_BYTES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db.journal"


@pytest.fixture
def opened(path: Path) -> Iterator[Journal]:
    """A new one, of a store that is empty."""
    made = Journal(path, STORE, 0)
    yield made
    made.close()
