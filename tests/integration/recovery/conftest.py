"""A world for each test, and what loads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.forked import forker
from tests.integration.recovery.load import Load
from tests.integration.recovery.world import World


@pytest.fixture
def world(tmp_path: Path, has_failed: Callable[[], bool]) -> Iterator[World]:
    """A world in which nothing runs yet. A test that fails shows the output of its processes."""
    with World(tmp_path, forker()) as world:
        yield world
        if has_failed():
            print(world.report())


@pytest.fixture
def load(world: World) -> Iterator[Load]:
    """Callers that begin with `Load.start`."""
    load = Load(world)
    yield load
    load.stop()
