"""One forker for all tests of this folder, a world for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.recovery.world import Forker, World, open_forker


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    with open_forker() as forker:
        yield forker


@pytest.fixture
def world(tmp_path: Path, forker: Forker) -> Iterator[World]:
    """Nothing runs yet. A test that fails shows what its processes wrote."""
    with World(tmp_path, forker) as world:
        yield world
