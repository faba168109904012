"""SIGSTOP of a node for longer than its lease, then SIGCONT."""

from __future__ import annotations

import signal

import pytest

from tests.forked import Process
from tests.integration.recovery.world import SOON_S, World, until

LEASE_S = 0.6
#: seconds from the end of the lease to the next attempt
TAKEN_OVER_S = 0.25
ROUNDS = 3
ROUNDS_MAX = 10


def stop_one(world: World, function: str, number: int) -> tuple[Process, float]:
    """Stop the holder of a call; return it, and the seconds until another node began."""
    id = f"x-{number}"
    step = id if function == "who" else f"{id}.1"
    world.hold("leaf")
    handle = world.runtime.options(target="g").rpc(id, function)
    victim = world.process_of(world.wait_line("begin", step))
    stopped_at = victim.signal(signal.SIGSTOP)
    again = world.wait_line("begin", step, times=2)
    assert again.pid != victim.pid
    # Both nodes finish the step, and write its result, at about the same time.
    world.release("leaf")
    victim.signal(signal.SIGCONT)
    assert handle.result(SOON_S) == again.pid
    world.wait_line("end", step, times=2)
    assert world.begun()[step] == 2
    return victim, again.at - stopped_at


@pytest.mark.parametrize("function", ["who", "who_stepped"])
def test_it_is_taken_over_refused_and_rejoins(world: World, function: str) -> None:
    """The late node's result is refused: that of the call, and that of a step in it."""
    world.settings["lease_ttl_s"] = LEASE_S
    world.start_broker()
    victim, *_ = nodes = [world.start_node("n-1"), world.start_node("n-2")]
    took = []
    for number in range(ROUNDS_MAX):
        victim, took_s = stop_one(world, function, number)
        took.append(took_s)
        world.wait_for_nodes(*nodes)
        # A node that first learns that it has lost the task writes nothing.
        if number + 1 >= ROUNDS and world.counter("stale_writes"):
            break
    # A busy machine may be late once, but hardly each time.
    assert min(took) < LEASE_S + TAKEN_OVER_S
    assert world.counter("stale_writes") >= 1
    assert world.counter("leases_lapsed") >= ROUNDS
    # It is a good node again.
    for node in nodes:
        if node is not victim:
            node.kill()
    assert world.runtime.options(target="g").rpc("y", "who").result(SOON_S) == victim.pid


def test_within_its_lease_nothing_happens(world: World) -> None:
    """The node goes on before its lease lapses: there is no second attempt, and no refusal."""
    world.settings |= {"lease_ttl_s": 10, "beat_s": 0.2}
    world.start_broker()
    world.start_node("n-1")
    world.hold("leaf")
    handle = world.runtime.options(target="g").rpc("x", "who")
    victim = world.process_of(world.wait_line("begin", "x"))
    victim.signal(signal.SIGSTOP)
    world.start_node("n-2")
    until("it is silent", lambda: world.nodes()[victim.pid].silent_s > 0.5)
    world.release("leaf")
    victim.signal(signal.SIGCONT)
    assert handle.result(SOON_S) == victim.pid
    assert world.begun() == {"x": 1}
    assert world.counter("stale_writes") == 0
