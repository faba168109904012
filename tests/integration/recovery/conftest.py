"""One forker for all tests of this folder, and a world for each test."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.integration.recovery.load import Load
from tests.integration.recovery.world import Forker, World, open_forker

_FAILED: Final = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember a failure for the fixture that can show the output of the processes."""
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    return report


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    with open_forker() as forker:
        yield forker


@pytest.fixture
def world(tmp_path: Path, forker: Forker, request: Any) -> Iterator[World]:
    """A world in which nothing runs yet. A test that fails shows the output of its processes."""
    with World(tmp_path, forker) as world:
        yield world
        if request.node.stash.get(_FAILED, False):
            print(world.report())


@pytest.fixture
def load(world: World) -> Iterator[Load]:
    """Callers that begin with `Load.start`."""
    load = Load(world)
    yield load
    load.stop()
