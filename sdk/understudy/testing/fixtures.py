"""Fixtures for pytest.

To have them, write this into the ``conftest.py`` at the top of your tests::

    pytest_plugins = ["understudy.testing.fixtures"]

They exist only in projects that contain that line.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from understudy.runtime import Runtime
from understudy.testing.clock import Clock
from understudy.testing.stage import Stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A `Stage` for this test alone; ``stage.add(app.runtime)`` puts an application on it."""
    with Stage() as stage:
        yield stage


@pytest.fixture
def runtime(stage: Stage) -> Runtime:
    """An embedded runtime on the stage: in memory, pickle allowed, with the stage's clock."""
    runtime = Runtime.local()
    stage.add(runtime)
    return runtime


@pytest.fixture
def clock(stage: Stage) -> Clock:
    """The `Clock` of the stage."""
    return stage.clock


@pytest.fixture
def live_runtime() -> Iterator[Runtime]:
    """An embedded runtime as in production: a real broker, in memory, threads, and real time."""
    with Runtime.local() as runtime:
        yield runtime
