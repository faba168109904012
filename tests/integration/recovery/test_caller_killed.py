"""SIGKILL of the caller's node: what the callee does is not lost, the caller goes on elsewhere."""

from __future__ import annotations

import pytest

from tests.integration.recovery.world import SOON_S, World

RESULT = [1, 7]


@pytest.mark.parametrize("another", [True, False])
def test_while_the_callee_works(world: World, another: bool) -> None:
    """With another node of the caller's group, and with none until the callee has finished."""
    world.start_broker()
    world.start_node("callee", "h")
    caller = world.start_node("caller-1")
    if another:
        world.start_node("caller-2")
    world.hold("leaf")
    handle = world.runtime.options(target="g").rpc("x", "calls", "h")
    world.wait_line("held", "leaf")
    world.wait_settled("x.1")
    victim = world.process_of(world.lines("begin", "x.1")[0])
    assert another or victim is caller
    victim.kill()
    world.let_go("leaf")
    assert world.wait_settled("x.2").value() == 7
    if not another:
        assert not handle.done()
        world.start_node("caller-3")
    assert handle.result(SOON_S) == RESULT
    assert world.begun() == {"x.1": 1, "x.2": 1}


@pytest.mark.parametrize("told", [True, False])
def test_after_the_callee_has_finished(world: World, told: bool) -> None:
    """Before the caller is told of the result, for there is nobody to tell; and after."""
    world.start_broker()
    callee = world.start_node("callee", "h")
    caller = world.start_node("caller-1")
    world.hold("called" if told else "leaf")
    handle = world.runtime.options(target="g").rpc("x", "calls", "h")
    if told:
        world.wait_line("held", "called")
    else:
        world.wait_suspended("x")
        caller.kill()
        world.let_go("leaf")
    world.wait_settled("x.2")
    if told:
        caller.kill()
        world.let_go("called")
    # the callee is not needed any more
    callee.kill()
    world.start_node("caller-2")
    assert handle.result(SOON_S) == RESULT
    assert world.begun() == {"x.1": 1, "x.2": 1}
