"""Faults of the network between node and broker: no wrong result, and calls go on afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.forked import Process
from tests.integration.recovery.proxy import Fault, Proxy, Way, open_proxy
from tests.integration.recovery.world import SOON_S, World, until

RESULT = [1, 2, 3]
LEASE_S = 1.0
#: the number of calls of a fan-out, and the sum of their results
WIDTH, TOTAL = 40, sum(range(40))


@pytest.fixture
def proxy(world: World) -> Iterator[Proxy]:
    """A proxy in front of a broker with a short lease."""
    world.settings |= {"lease_ttl_s": LEASE_S}
    world.start_broker()
    with open_proxy(world.url) as proxy:
        yield proxy


def held_far_away(world: World, proxy: Proxy) -> Process:
    """Start a node behind the proxy, which holds the leaf ``x``, and a second, direct one."""
    far = world.start_node("far", url=proxy.url)
    world.hold("leaf")
    world.runtime.options(target="g").rpc("x", "who")
    assert world.wait_line("begin", "x").pid == far.pid
    world.start_node("near")
    return far


def cut_and_back(proxy: Proxy, nodes: int) -> None:
    """Cut all connections; return once `nodes` nodes have new ones."""
    before = proxy.connections
    proxy.cut()
    until("they have other connections", lambda: proxy.connections >= before + nodes)


def test_cut_for_a_moment(world: World) -> None:
    """The node is back within the grace, and keeps its task."""
    world.settings["reconnect_grace_ms"] = 20_000
    world.start_broker()
    with open_proxy(world.url) as proxy:
        far = held_far_away(world, proxy)
        for _ in range(3):
            cut_and_back(proxy, 1)
            world.wait_for_nodes(far)
        world.release("leaf")
        assert world.runtime.get("x").result(SOON_S) == far.pid
        assert world.begun() == {"x": 1}


def test_cut_for_long(world: World, proxy: Proxy) -> None:
    """Another node takes over; the first comes back, and its late result is refused."""
    far = held_far_away(world, proxy)
    proxy.accepting = False
    proxy.cut()
    near = world.wait_line("begin", "x", times=2)
    world.release("leaf")
    assert world.runtime.get("x").result(SOON_S) == near.pid != far.pid
    world.wait_line("end", "x", times=2)
    proxy.heal()
    world.wait_for_nodes(far)


@pytest.mark.parametrize("end", ["node", "broker"])
def test_half_open(world: World, proxy: Proxy, end: str) -> None:
    """One end sees the connection closed. The other notices by the silence."""
    far = held_far_away(world, proxy)
    before = proxy.connections
    proxy.half_open("node" if end == "node" else "broker")
    until("the node has another connection", lambda: proxy.connections > before)
    world.wait_for_nodes(far)
    world.release("leaf")
    result = world.runtime.get("x").result(SOON_S)
    assert result in {line.pid for line in world.lines("end", "x")}
    assert world.runtime.options(target="g").rpc("y", "steps").result(SOON_S) == RESULT


def test_partition_beyond_the_lease(world: World, proxy: Proxy) -> None:
    """No data passes and nobody is told; late messages are refused."""
    far = held_far_away(world, proxy)
    proxy.stall("up", "down")
    near = world.wait_line("begin", "x", times=2)
    assert near.pid != far.pid
    assert world.counter("leases_lapsed") == 1
    world.release("leaf")
    world.wait_line("end", "x", times=2)
    assert world.runtime.get("x").result(SOON_S) == near.pid
    proxy.heal()
    world.wait_for_nodes(far)
    # Its result is sent before the heal, and again after its return.
    until("the late write is refused", lambda: world.counter("stale_writes"))
    assert world.wait_settled("x").value() == near.pid


@pytest.mark.parametrize("way", ["up", "down"])
def test_one_direction_stalls(world: World, proxy: Proxy, way: Way) -> None:
    """One direction stalls for longer than the lease; the other goes on."""
    far = held_far_away(world, proxy)
    proxy.stall(way)
    world.release("leaf")
    world.wait_line("end", "x")
    before = proxy.connections
    until("the node gives the connection up", lambda: proxy.connections > before)
    proxy.heal()
    result = world.runtime.get("x").result(SOON_S)
    assert result in {line.pid for line in world.lines("end", "x")}
    world.wait_for_nodes(far)
    assert world.runtime.options(target="g").rpc("y", "steps").result(SOON_S) == RESULT


def test_delayed(world: World, proxy: Proxy) -> None:
    """A slow network is not a dead node: each step runs once, and no lease lapses."""
    proxy.delay_s = 0.03
    world.start_node("far", url=proxy.url)
    calls = world.runtime.options(target="g")
    handles = [calls.rpc("x", "steps"), calls.rpc("y", "fan_out", WIDTH)]
    assert [handle.result(SOON_S * 2) for handle in handles] == [RESULT, TOTAL]
    assert set(world.begun().values()) == {1}
    assert world.counter("leases_lapsed") == 0


def test_bytes_trickle(world: World) -> None:
    """Frames arrive in small pieces, with pauses in between.

    So do heartbeats, and on a busy machine each pause is long: hence the lease is long, too.
    """
    world.settings |= {"lease_ttl_s": 10 * LEASE_S}
    world.start_broker()
    with open_proxy(world.url) as proxy:
        proxy.trickle_bytes = 7
        world.start_node("far", url=proxy.url)
        calls = world.runtime.options(target="g")
        handles = [calls.rpc("x", "steps"), calls.rpc("y", "fan_out", 10)]
        assert [handle.result(SOON_S * 2) for handle in handles] == [RESULT, 45]
        assert set(world.begun().values()) == {1}


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("fault", ["drop", "double", "swap"])
def test_messages_are_lost_doubled_swapped(
    world: World, proxy: Proxy, fault: Fault, way: Way
) -> None:
    """Every ninth message has a fault: the connection ends, and requests are sent again."""
    world.start_node("far", url=proxy.url)
    proxy.fault = (fault, way, 9)
    calls = world.runtime.options(target="g")
    handles = [calls.rpc(f"x-{n}", "fan_out", 10) for n in range(5)]
    until("messages have met the fault", lambda: proxy.fault_count >= 2)
    until("some calls have ended", lambda: any(handle.done() for handle in handles))
    proxy.heal()
    assert [handle.result(SOON_S * 2) for handle in handles] == [45] * 5
    if way == "up":
        counter = "frames_repeated" if fault == "double" else "frames_missing"
        assert world.counter(counter) >= 1


def test_cut_again_and_again_under_load(world: World, proxy: Proxy) -> None:
    """Two nodes work behind a network that breaks all the time."""
    nodes = [world.start_node(name, url=proxy.url) for name in ("far-1", "far-2")]
    calls = world.runtime.options(target="g")
    handles = [calls.rpc(f"x-{n}", "fan_out", WIDTH) for n in range(10)]
    for _ in range(8):
        cut_and_back(proxy, 2)
    assert [handle.result(SOON_S * 2) for handle in handles] == [TOTAL] * 10
    assert all(node.code is None for node in nodes)
    # No node died, so no function is blamed for killing nodes.
    assert world.counter("parked") == 0
