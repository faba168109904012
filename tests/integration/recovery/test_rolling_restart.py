"""SIGTERM to every node and the broker, one after the other, under load."""

from __future__ import annotations

import signal

import pytest

from tests.integration.recovery.load import Load
from tests.integration.recovery.world import World

NODES = 2
CALLERS = 6
EXIT_TERMINATED = 143


@pytest.fixture
def steps(world: World) -> Load:
    return Load(world, "echo_in_steps", CALLERS)


def restart_all_nodes(world: World, load: Load) -> None:
    for number in range(NODES):
        old = world.nodes_by_name()[f"n-{number}"]
        old.signal(signal.SIGTERM)
        assert old.ended() == EXIT_TERMINATED, old.output
        new = world.start_node(f"n-{number}")
        assert new.pid != old.pid
        load.wait_for_calls()


def restart_broker(world: World, load: Load) -> None:
    world.broker.signal(signal.SIGTERM)
    assert world.broker.ended() == 0, world.broker.output
    world.start_broker()
    load.wait_for_calls()


def test_no_call_fails_and_nothing_runs_twice(world: World, steps: Load) -> None:
    """Nodes finish their functions before they end, and live on without their broker."""
    world.start_broker()
    for number in range(NODES):
        world.start_node(f"n-{number}")
    steps.start()
    try:
        restart_all_nodes(world, steps)
        restart_broker(world, steps)
        restart_all_nodes(world, steps)
        restart_broker(world, steps)
    finally:
        steps.stop()
    steps.finish()
    begun = world.begun()
    assert len(begun) == 3 * len(steps.results)
    assert set(begun.values()) == {1}
    assert begun.keys() == {line.name for line in world.ledger() if line.kind == "end"}
