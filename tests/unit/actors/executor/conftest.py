"""Fixtures for the executor."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.actors.executor.rig import ExecutorRig
from tests.unit.actors.interpreter.harness import START
from understudy_actors.executor import WorkerPool


@pytest.fixture
def rig() -> ExecutorRig:
    return ExecutorRig()


@pytest.fixture
def pool(rig: ExecutorRig) -> Iterator[WorkerPool]:
    pool = WorkerPool(8, rig.results, lambda: START)
    yield pool
    pool.stop()
    for thread in pool._threads:
        thread.join(5)
        assert not thread.is_alive()
