"""One forker for all tests of this folder, and a world for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.recovery.load import Load
from tests.integration.recovery.world import Forker, World, open_forker


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    with open_forker() as forker:
        yield forker


@pytest.fixture
def world(tmp_path: Path, forker: Forker, has_failed: Callable[[], bool]) -> Iterator[World]:
    """A world in which nothing runs yet. A test that fails shows the output of its processes."""
    with World(tmp_path, forker) as world:
        yield world
        if has_failed():
            print(world.report())


@pytest.fixture
def load(world: World) -> Iterator[Load]:
    """Callers that begin with `Load.start`."""
    load = Load(world)
    yield load
    load.stop()
