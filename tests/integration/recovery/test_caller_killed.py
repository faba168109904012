"""SIGKILL of the caller's node: the callee's work is kept, and the caller goes on elsewhere."""

from __future__ import annotations

import pytest

from tests.integration.recovery.world import SOON_S, World

RESULT = [1, 7]


@pytest.mark.parametrize("another", [True, False])
def test_while_the_callee_works(world: World, another: bool) -> None:
    """There is another node of the caller's group, or none until the callee has ended."""
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
    world.release("leaf")
    assert world.wait_settled("x.2").value() == 7
    if not another:
        assert not handle.done()
        world.start_node("caller-3")
    assert handle.result(SOON_S) == RESULT
    assert world.begun() == {"x.1": 1, "x.2": 1}


@pytest.mark.parametrize("told", [True, False])
def test_after_the_callee_has_finished(world: World, told: bool) -> None:
    """The caller dies before it learns the result, or after."""
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
        world.release("leaf")
    world.wait_settled("x.2")
    if told:
        caller.kill()
        world.release("called")
    # The callee is no longer needed.
    callee.kill()
    world.start_node("caller-2")
    assert handle.result(SOON_S) == RESULT
    assert world.begun() == {"x.1": 1, "x.2": 1}
