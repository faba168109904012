"""A hundred times more work than capacity: it waits, or is refused, but nothing is dropped."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.recovery.world import PATIENCE_S, World, until
from understudy_broker.errors import LinkError
from understudy_store.commands import PromiseGet

#: functions that run at a time in all: there is one node
CAPACITY = 4
CALLS = 100 * CAPACITY
WIDTH = 4000
INFLIGHT_MAX = 1024
#: requests of one process without an answer
UNANSWERED_MAX = 65_536
#: what either may grow by, in MiB
GROWTH_MAX = 60
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")


def start(world: World) -> None:
    world.start_broker()
    world.start_node("n-1", "g", "--concurrency", str(CAPACITY))


def test_calls_wait_and_all_are_made(world: World) -> None:
    """All at once while nothing ends: the node gets what it has room for, the rest waits."""
    start(world)
    world.hold("leaf")
    calls = world.runtime.options(target="g")
    with ThreadPoolExecutor(50) as pool:
        handles = list(pool.map(lambda n: calls.rpc(f"x-{n}", "leaf", n), range(CALLS)))
    # each is stored, though nobody will begin it for long
    (group,) = world.runtime.groups().groups
    (node,) = group.nodes
    assert group.queued + node.held == CALLS
    assert node.held < CALLS / 2
    assert len(world.begun()) <= CAPACITY
    world.let_go("leaf")
    assert [handle.result(PATIENCE_S) for handle in handles] == list(range(CALLS))
    assert set(world.begun().values()) == {1}


@needs_proc
def test_memory_is_bounded(world: World) -> None:
    """One function calls a thousand times what fits: neither process grows with it."""
    start(world)
    node = world.nodes_by_name()["n-1"]
    # what both have loaded by then is not counted
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
    """They wait in their process, up to a bound; beyond it they are refused, and told so."""
    world.settings["inflight_max"] = INFLIGHT_MAX
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
    # the broker itself had to refuse nothing: the link knows what it may ask
    assert world.counter("refused") == 0
