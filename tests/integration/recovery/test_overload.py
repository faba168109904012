"""A hundred times more work than capacity: it waits or is refused, but is never dropped."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.forked import PATIENCE_S
from tests.integration.recovery.world import World, until
from understudy_broker.errors import LinkError
from understudy_store.commands import PromiseGet

#: functions that run at the same time, on the only node
CAPACITY = 4
CALLS = 100 * CAPACITY
WIDTH = 4000
INFLIGHT_MAX = 1024
#: unanswered requests of one process
UNANSWERED_MAX = 65_536
#: MiB by which either process may grow
GROWTH_MAX = 60
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")


def start(world: World) -> None:
    world.start_broker()
    world.start_node("n-1", "g", "--concurrency", str(CAPACITY))


def test_calls_wait_and_all_are_made(world: World) -> None:
    """All calls are made while no function ends: the node gets as many as it has room for."""
    start(world)
    world.hold("leaf")
    calls = world.runtime.options(target="g")
    with ThreadPoolExecutor(50) as pool:
        handles = list(pool.map(lambda n: calls.rpc(f"x-{n}", "leaf", n), range(CALLS)))
    # Each call is stored, although no node begins it for long.
    (group,) = world.runtime.groups().groups
    (node,) = group.nodes
    assert group.queued + node.held == CALLS
    assert node.held < CALLS / 2
    assert len(world.begun()) <= CAPACITY
    world.release("leaf")
    assert [handle.result(PATIENCE_S) for handle in handles] == list(range(CALLS))
    assert set(world.begun().values()) == {1}


@needs_proc
def test_memory_is_bounded(world: World) -> None:
    """A function makes a thousand times more calls than fit: neither process grows with it."""
    start(world)
    node = world.nodes_by_name()["n-1"]
    # Modules that both have loaded by now do not count.
    assert world.runtime.options(target="g").rpc("warm", "fan_out", 100).result(PATIENCE_S)
    before = world.broker.rss_mib(), node.rss_mib()
    handle = world.runtime.options(target="g").rpc("x", "fan_out", WIDTH)
    until("it has ended", handle.done)
    assert handle.result() == sum(range(WIDTH))
    after = world.broker.rss_mib(), node.rss_mib()
    assert [a - b < GROWTH_MAX for b, a in zip(before, after, strict=True)] == [True, True], after
    assert len(world.begun()) == WIDTH + 100
    assert set(world.begun().values()) == {1}


def test_more_requests_than_may_be_unanswered(world: World) -> None:
    """Requests wait in their process up to a bound; further ones fail with an error."""
    # With a lease that outlasts the test, the process does not take the stopped broker for dead.
    # Otherwise it connects again, and frames of its old connection are refused, as they must be.
    world.settings |= {"inflight_max": INFLIGHT_MAX, "lease_ttl_s": 3600}
    world.start_broker()
    world.runtime.promises.create("a")
    connection = world.runtime.session.connected()
    world.broker.signal(signal.SIGSTOP)
    futures = [connection.command(PromiseGet("a")) for _ in range(UNANSWERED_MAX + 100)]
    refused = futures[-100:]
    for future in refused:
        with pytest.raises(LinkError, match=f"{UNANSWERED_MAX} requests are unanswered"):
            future.result(PATIENCE_S)
    assert not any(future.done() for future in futures[:-100])
    world.broker.signal(signal.SIGCONT)
    for future in futures[:-100]:
        assert future.result(PATIENCE_S).reply.status == 200
    # The broker itself refuses none, because the link knows the bound.
    assert world.counter("refused") == 0
