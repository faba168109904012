"""Source, broker and queue are killed at random, one or several at a time, while messages come."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.cli.programs import Forked
from tests.integration.sources.contract import SourceContract
from tests.integration.sources.test_redis import RedisQueue
from tests.integration.sources.world import World, orders
from tests.services.fixture import running
from tests.services.redis import RedisServer

ROUNDS = 12
EACH = 250
SEED = random.randrange(1 << 30)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running(RedisServer) as server:
        yield server


@pytest.fixture
def world(tmp_path: Path, server: RedisServer, has_failed: Callable[[], bool]) -> Iterator[World]:
    world = World(tmp_path, RedisQueue(server))
    try:
        yield world
    finally:
        if has_failed():
            print(world.report())
        world.close()


class Parts:
    """The three parts that die: which of them run, and how each is killed and started."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._source = self._start_source()
        self._all: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "source": (lambda: world.kill(self._source), self._restart_source),
            "broker": (lambda: world.kill(world.broker), self._restart_broker),
            "queue": (world.queue.kill, world.queue.start),
        }
        self.dead: list[str] = []

    def _start_source(self) -> Forked:
        return self._world.start_source("--in-flight", "100", "--json")

    def _restart_source(self) -> None:
        self._source = self._start_source()

    def _restart_broker(self) -> None:
        self._world.broker = self._world.start_broker()

    def kill(self, name: str) -> None:
        self._all[name][0]()
        self.dead.append(name)

    def start(self, name: str) -> None:
        self._all[name][1]()
        self.dead.remove(name)

    def alive(self) -> list[str]:
        return [name for name in self._all if name not in self.dead]


def test_each_message_is_one_call_whatever_dies(world: World) -> None:
    print(f"SEED = {SEED}")
    chance = random.Random(SEED)
    parts = Parts(world)
    for number in range(ROUNDS):
        if "queue" in parts.dead:
            parts.start("queue")
        world.queue.publish(orders(number * EACH, EACH))
        world.wait_performed(len(set(world.performed)) + (0 if parts.dead else 20))
        parts.kill(chance.choice(parts.alive()))
        while parts.dead and chance.random() < 0.6:
            parts.start(chance.choice(parts.dead))
    while parts.dead:
        parts.start(parts.dead[0])
    SourceContract().check_all(world, ROUNDS * EACH)


def test_progress_is_told_as_json(world: World) -> None:
    source = world.start_source("--json")
    world.queue.publish([*orders(0, 5), b"nonsense"])
    source.wait_for('"stored":5')
    line = next(line for line in source.output.splitlines() if '"stored":5' in line)
    figures = json.loads(line)
    assert figures.keys() == {
        *("stored", "known", "poison", "acknowledged", "under_way", "lag", "per_s"),
    }
    assert (figures["poison"], figures["acknowledged"], figures["lag"]) == (1, 6, 0)
