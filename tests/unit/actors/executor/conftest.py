"""Fixtures for the executor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.actors.executor.player import Play, Player
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


@pytest.fixture
def play(rig: ExecutorRig) -> Iterator[Play]:
    players: list[Player] = []

    def begin(*args: Any, **options: Any) -> Player:
        players.append(Player(rig, *args, **options))
        return players[-1]

    yield begin
    for player in players:
        player.stop()
