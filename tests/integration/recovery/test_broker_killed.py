"""SIGKILL of the broker: after its restart everything goes on, and no acknowledged call is lost."""

from __future__ import annotations

import signal
import statistics
import threading
import time
from collections.abc import Sized
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.integration.recovery.world import BACK_S, SOON_S, World, until

RESULT = [1, 2, 3]
STEPS = {"x.1": 1, "x.2": 1, "x.3": 1}
KILLS = 3


def has_grown_by(things: Sized, before: int, more: int) -> bool:
    return len(things) >= before + more


def test_idle(world: World) -> None:
    """All peers are back soon after the broker, and the store is unchanged."""
    world.start_broker()
    nodes = [world.start_node("n-1"), world.start_node("n-2", "h")]
    calls = world.runtime.options(target="g")
    assert calls.rpc("before", "steps").result(SOON_S) == RESULT
    took = []
    for number in range(KILLS):
        world.broker.kill()
        world.start_broker()
        began = time.monotonic()
        world.wait_for_nodes(*nodes)
        took.append(time.monotonic() - began)
        assert calls.rpc(f"after-{number}", "steps").result(SOON_S) == RESULT
    # One of the attempts may coincide with a busy moment of the machine.
    assert statistics.median(took) < BACK_S
    assert world.wait_settled("before").value() == RESULT
    assert world.begun()["before.1"] == 1


def test_under_load(world: World) -> None:
    """A broker is killed repeatedly during calls: each stored call ends with its right result."""
    world.start_broker()
    nodes = [world.start_node(f"n-{n}") for n in range(2)]
    calls = world.runtime.options(target="g")
    stored: dict[str, int] = {}
    enough = threading.Event()

    def caller(name: int) -> int:
        number = 0
        while not enough.is_set():
            handle = calls.rpc(f"{name}-{number}", "fan_out", 5)
            stored[handle.id] = 1
            assert handle.result(SOON_S * 3) == 10
            number += 1
        return number

    with ThreadPoolExecutor(6) as pool:
        callers = [pool.submit(caller, name) for name in range(6)]
        try:
            for kill in range(KILLS):
                more = partial(has_grown_by, stored, len(stored), 12)
                until(f"the calls go on, after {kill} kills", more)
                world.broker.kill()
                world.start_broker()
        finally:
            enough.set()
    assert sum(future.result() for future in callers) == len(stored)
    for id in stored:
        assert world.wait_settled(id).value() == 10
    # No node died, so no step ran twice.
    assert set(world.begun().values()) == {1}
    assert all(node.code is None for node in nodes)


def test_nodes_that_kept_working_deliver(world: World) -> None:
    """The result of a function that ends while there is no broker is accepted later."""
    world.start_broker()
    node = world.start_node("n-1")
    world.hold("step-2", "leaf")
    calls = world.runtime.options(target="g")
    handles = [calls.rpc("x", "steps"), calls.rpc("y", "leaf", 5)]
    world.wait_line("held", "step-2")
    world.wait_line("held", "leaf")
    world.broker.kill()
    world.release("step-2", "leaf")
    world.wait_line("end", "x.2")
    world.wait_line("end", "y")
    world.start_broker()
    assert [handle.result(SOON_S) for handle in handles] == [RESULT, 5]
    assert world.begun() == {**STEPS, "y": 1}
    assert node.code is None


def test_a_node_that_died_meanwhile_is_replaced(world: World) -> None:
    """Broker and node die together: the node's task goes to another one after the grace."""
    world.settings["boot_grace_s"] = 0.3
    world.start_broker()
    node = world.start_node("n-1")
    world.hold("step-2")
    handle = world.runtime.options(target="g").rpc("x", "steps")
    world.wait_line("held", "step-2")
    world.wait_settled("x.1")
    world.broker.kill()
    node.kill()
    world.release("step-2")
    world.start_broker()
    world.start_node("n-2")
    assert handle.result(SOON_S) == RESULT
    assert world.begun() == {**STEPS, "x.2": 2}


@pytest.mark.parametrize("what", ["x pending", "x.1 settled", "x.3 settled"])
@pytest.mark.parametrize("point", ["before-commit", "after-commit", "before-send", "after-send"])
def test_around_a_commit(world: World, point: str, what: str) -> None:
    """The broker dies at one point of the batch that stores the call, a step or a leaf's result.

    The nodes live, so they deliver what they had: nothing runs twice, wherever the broker died.
    """
    world.start_broker(RECOVERY_STOP=f"{point} {what}")
    world.start_node("n-1")
    with ThreadPoolExecutor(1) as pool:
        # The reply to the call itself may be lost.
        call = pool.submit(world.runtime.options(target="g").rpc, "x", "steps")
        assert world.broker.ended() == -signal.SIGKILL
        world.start_broker()
        assert call.result(SOON_S).result(SOON_S) == RESULT
    assert world.begun() == STEPS
