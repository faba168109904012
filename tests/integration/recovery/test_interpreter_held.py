"""A function that holds the interpreter for longer than the lease, in a call of C."""

from __future__ import annotations

import signal

import pytest

from tests.integration.recovery.world import SOON_S, World, until

LEASE_S = 1.0


@pytest.fixture
def world_with_nodes(world: World) -> World:
    world.settings["lease_ttl_s"] = LEASE_S
    world.start_broker()
    world.start_node("n-1")
    return world


def test_its_node_keeps_the_call(world_with_nodes: World) -> None:
    world = world_with_nodes
    world.hold("held")
    handle = world.runtime.options(target="g").rpc("x", "hold_interpreter", 3.5 * LEASE_S)
    victim = world.process_of(world.wait_line("begin", "x"))
    other = world.start_node("n-2")
    victim.wait_for("no heartbeat was sent")
    assert "in hold_interpreter" in victim.output
    world.release("held")
    assert handle.result(SOON_S) == victim.pid
    assert world.begun() == {"x": 1}
    counters = {name: world.counter(name) for name in ("leases_lapsed", "stale_writes")}
    assert counters == {"leases_lapsed": 0, "stale_writes": 0}
    assert world.counter("leases_extended") == 1
    # It is a good node again.
    other.kill()
    assert world.runtime.options(target="g").rpc("y", "who").result(SOON_S) == victim.pid


def test_beyond_the_bound_another_node_takes_over(world: World) -> None:
    world.settings |= {"lease_ttl_s": LEASE_S, "stall_max_s": 1.0}
    world.start_broker()
    world.start_node("n-1")
    world.runtime.options(target="g").rpc("x", "hold_interpreter", 6.0)
    victim = world.process_of(world.wait_line("begin", "x"))
    began = world.start_node("n-2")
    again = world.wait_line("begin", "x", times=2)
    assert again.pid == began.pid != victim.pid
    assert world.counter("leases_lapsed") == 1
    world.runtime.cancel("x")


def test_a_process_that_is_stopped_meanwhile_is_given_up_at_once(world_with_nodes: World) -> None:
    world = world_with_nodes
    world.runtime.options(target="g").rpc("x", "hold_interpreter", 30.0)
    victim = world.process_of(world.wait_line("begin", "x"))
    other = world.start_node("n-2")
    until("its lease is extended", lambda: world.counter("leases_extended") == 1)
    stopped_at = victim.signal(signal.SIGSTOP)
    again = world.wait_line("begin", "x", times=2)
    victim.kill()
    assert again.pid == other.pid
    assert again.at - stopped_at < 3 * LEASE_S
    world.runtime.cancel("x")


def test_a_process_that_dies_meanwhile_is_given_up_at_once(world_with_nodes: World) -> None:
    world = world_with_nodes
    world.runtime.options(target="g").rpc("x", "hold_interpreter", 30.0)
    victim = world.process_of(world.wait_line("begin", "x"))
    other = world.start_node("n-2")
    until("its lease is extended", lambda: world.counter("leases_extended") == 1)
    killed_at = victim.kill()
    again = world.wait_line("begin", "x", times=2)
    assert again.pid == other.pid
    assert again.at - killed_at < LEASE_S
    world.runtime.cancel("x")
