"""SIGKILL of a node: another node of its group goes on from the last stored step, at once."""

from __future__ import annotations

import pytest

from tests.forked import Process
from tests.integration.recovery.world import SOON_S, World, until

RESULT = [1, 2, 3]
STEPS = ("x.1", "x.2", "x.3")
FUNCTIONS = ("steps", "coroutine")


def two_nodes(world: World) -> list[Process]:
    world.start_broker()
    nodes = [world.start_node(name, wait=False) for name in ("n-1", "n-2")]
    world.wait_for_nodes(*nodes)
    return nodes


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("place", ["body-0", "body-1", "body-2", "body-3"])
def test_between_steps(world: World, place: str, function: str) -> None:
    """The node dies before the first step, between two, or after the last: no step runs twice."""
    two_nodes(world)
    world.hold(place)
    handle = world.runtime.options(target="g").rpc("x", function)
    line = world.wait_line("held", place)
    before = int(place[-1])
    if before:
        world.wait_settled(f"x.{before}")
    victim = world.process_of(line)
    world.hold("body-0")
    killed_at = victim.kill()
    # The lease of the dead node is ten seconds.
    again = world.wait_line("held", "body-0", times=1 + (before == 0))
    assert again.pid != victim.pid
    assert again.at - killed_at < SOON_S
    world.release(*{place, "body-0"})
    assert handle.result(SOON_S) == RESULT
    assert world.begun() == dict.fromkeys(STEPS, 1)
    assert world.counter("leases_lapsed") == 0


@pytest.mark.parametrize(("place", "id"), [("step-2", "x.2"), ("leaf", "x.3")])
def test_in_a_step(world: World, place: str, id: str) -> None:
    """The node dies in a local step or a leaf: only that one runs again."""
    two_nodes(world)
    world.hold(place)
    handle = world.runtime.options(target="g").rpc("x", "steps")
    victim = world.process_of(world.wait_line("held", place))
    killed_at = victim.kill()
    again = world.wait_line("begin", id, times=2)
    assert again.pid != victim.pid
    assert again.at - killed_at < SOON_S
    world.release(place)
    assert handle.result(SOON_S) == RESULT
    assert world.begun() == {**dict.fromkeys(STEPS, 1), id: 2}


@pytest.mark.parametrize("suspended", [False, True])
def test_while_waiting(world: World, suspended: bool) -> None:
    """The node dies while its function waits, before or after the task is suspended."""
    first, second = two_nodes(world)
    handle = world.runtime.options(target="g").rpc("x", "waits")
    step = world.wait_line("end", "x.1")
    world.wait_settled("x.1")
    until("the question is asked", lambda: world.promise("x.answer"))
    if suspended:
        world.wait_suspended("x")
    world.process_of(step).kill()
    world.runtime.promises.resolve("x.answer", 2)
    assert handle.result(SOON_S) == RESULT
    assert world.begun() == {"x.1": 1, "x.3": 1}
    (survivor,) = [node for node in (first, second) if node.code is None]
    assert world.lines("begin", "x.3")[0].pid == survivor.pid


def test_while_replaying(world: World) -> None:
    """The second node dies while it replays the work of the first: the third goes on."""
    nodes = [*two_nodes(world), world.start_node("n-3")]
    world.hold("body-2")
    handle = world.runtime.options(target="g").rpc("x", "steps")
    first = world.process_of(world.wait_line("held", "body-2"))
    world.wait_settled("x.2")
    world.hold("body-1")
    first.kill()
    # Step 1 was answered from the history, and step 2 is still in the history.
    second = world.process_of(world.wait_line("held", "body-1"))
    second.kill()
    world.release("body-1", "body-2")
    assert handle.result(SOON_S) == RESULT
    assert world.begun() == dict.fromkeys(STEPS, 1)
    (third,) = [node for node in nodes if node.code is None]
    assert third not in (first, second)


def test_nothing_else_is_disturbed(world: World) -> None:
    """One of many nodes dies: calls that it did not hold are not affected."""
    nodes = two_nodes(world)
    world.hold("leaf")
    calls = world.runtime.options(target="g")
    handles = [calls.rpc(f"x-{n}", "leaf", n) for n in range(8)]
    for n in range(8):
        world.wait_line("begin", f"x-{n}")
    held = {line.name: line.pid for line in world.ledger() if line.kind == "begin"}
    assert set(held.values()) == {node.pid for node in nodes}
    nodes[0].kill()
    for name in (name for name, pid in held.items() if pid == nodes[0].pid):
        world.wait_line("begin", name, times=2)
    world.release("leaf")
    assert [handle.result(SOON_S) for handle in handles] == list(range(8))
    assert world.begun() == {name: 1 + (pid == nodes[0].pid) for name, pid in held.items()}
