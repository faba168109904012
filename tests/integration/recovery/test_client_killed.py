"""SIGKILL of a client: its call graph goes on, and the same id attaches to it again."""

from __future__ import annotations

from tests.integration.recovery.world import SOON_S, World

RESULT = [1, 2, 3]


def test_the_call_goes_on_and_its_result_is_kept(world: World) -> None:
    world.start_broker()
    world.start_node("n-1")
    world.hold("step-2")
    client = world.start_client("x", "steps")
    world.wait_line("stored", "x")
    world.wait_line("held", "step-2")
    client.kill()
    world.release("step-2")
    assert world.wait_settled("x").value() == RESULT
    assert world.runtime.options(target="g").rpc("x", "steps").result(SOON_S) == RESULT
    assert world.begun() == {"x.1": 1, "x.2": 1, "x.3": 1}
    assert not world.lines("result", "x")


def test_another_attaches_while_it_is_under_way(world: World) -> None:
    world.start_broker()
    world.start_node("n-1")
    world.hold("step-2")
    client = world.start_client("x", "steps")
    world.wait_line("stored", "x")
    world.wait_line("held", "step-2")
    client.kill()
    again = world.start_client("x", "steps")
    world.wait_line("stored", "x", times=2)
    here = world.runtime.get("x")
    world.release("step-2")
    assert again.ended() == 0, again.output
    assert world.lines("result", "x")[0].pid == again.pid
    assert here.result(SOON_S) == RESULT
    assert world.begun() == {"x.1": 1, "x.2": 1, "x.3": 1}


def test_killed_before_anybody_serves(world: World) -> None:
    """A stored call goes to the first node of its group, although its client is gone."""
    world.start_broker()
    client = world.start_client("x", "steps")
    world.wait_line("stored", "x")
    client.kill()
    world.start_node("n-1")
    assert world.wait_settled("x").value() == RESULT
