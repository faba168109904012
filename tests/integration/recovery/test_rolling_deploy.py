"""A new release, node by node: new functions, changed code, and the way back."""

from __future__ import annotations

import signal
from typing import Final

from tests.forked import Process
from tests.integration.recovery.load import Load
from tests.integration.recovery.world import World, until
from understudy.cli import main

FIRST: Final = "tests.integration.recovery.app:runtime"
NEXT: Final = "tests.integration.recovery.next_app:runtime"
PATIENCE_S: Final = 40.0
CALLS: Final = 10


def replace(world: World, old: Process, name: str, app: str) -> Process:
    """End a node in order, and start another release under its name."""
    old.signal(signal.SIGTERM)
    old.ended()
    return world.start_node(name, app=app)


def wait_parked(world: World, id: str) -> None:
    """Wait until the call is parked."""
    until(f"{id} is parked", lambda: world.task(id).state == "halted")


def test_a_new_function_goes_only_to_nodes_that_have_it(world: World) -> None:
    world.start_broker()
    old = world.start_node("n-1")
    calls = world.runtime.options(target="g")
    early = [calls.rpc(f"early-{number}", "refund") for number in range(CALLS)]
    world.broker.wait_for("refund")  # It logs that no node has the function.
    before = [calls.rpc(f"before-{number}", "who") for number in range(CALLS)]
    assert {handle.result(PATIENCE_S) for handle in before} == {old.pid}
    new = world.start_node("n-2", app=NEXT)
    late = [calls.rpc(f"late-{number}", "refund") for number in range(CALLS)]
    known = [calls.rpc(f"known-{number}", "who") for number in range(CALLS)]
    assert {handle.result(PATIENCE_S) for handle in early + late} == {new.pid}
    assert {handle.result(PATIENCE_S) for handle in known} == {old.pid, new.pid}
    assert set(world.begun().values()) == {1}


def test_calls_go_on_while_node_after_node_is_replaced(world: World) -> None:
    """No call fails, no step runs twice, and the new function is performed as soon as it can be."""
    load = Load(world, "echo_in_steps")
    world.start_broker()
    nodes = {name: world.start_node(name) for name in ("n-1", "n-2", "n-3")}
    calls = world.runtime.options(target="g")
    load.start()
    try:
        refunds = [calls.rpc(f"refund-{number}", "refund") for number in range(CALLS)]
        for name, old in nodes.items():
            nodes[name] = replace(world, old, name, NEXT)
            load.wait_for_calls()
    finally:
        load.stop()
    load.finish()
    assert {handle.result(PATIENCE_S) for handle in refunds} <= {n.pid for n in nodes.values()}
    begun = world.begun()
    assert len(begun) == 3 * len(load.results) + CALLS
    assert set(begun.values()) == {1}


def test_changed_code_parks_and_after_a_rollback_all_goes_on_where_it_was(world: World) -> None:
    world.start_broker()
    old = world.start_node("n-1")
    runtime = world.runtime
    ids = [f"w-{number}" for number in range(CALLS)]
    handles = {id: runtime.options(target="g").rpc(id, "waits") for id in ids}
    for id in ids:
        world.wait_suspended(id)

    # Old and new code serve the group side by side: what the old node has warm goes on there.
    new = world.start_node("n-2", app=NEXT)
    answered, others = ids[:3], ids[3:]
    for id in answered:
        runtime.promises.resolve(f"{id}.answer", 2)
        assert handles[id].result(PATIENCE_S) == [1, 2, 3]

    # The old node is gone: the new code cannot go on with the calls, and says so.
    new_too = replace(world, old, "n-1", NEXT)
    for id in others:
        runtime.promises.resolve(f"{id}.answer", 2)
    for id in others:
        wait_parked(world, id)
        cause = world.task(id).cause or ""
        for text in ("NonDeterminismError", "run step", "run check", "/app.py:", "/next_app.py:"):
            assert text in cause
    world.broker.kill()
    world.start_broker()
    world.wait_for_nodes(new, new_too)
    for id in others:
        assert world.task(id).state == "halted"
        stored = world.promise(id)
        assert stored is not None
        assert stored.state == "pending", "nothing is settled, and nothing is lost"
    assert main(["tasks", "continue", others[0], "--url", world.url]) == 0
    wait_parked(world, others[0])

    # The way back.
    replace(world, new, "n-2", FIRST)
    replace(world, new_too, "n-1", FIRST)
    assert main(["tasks", "continue", *others, "--url", world.url]) == 0
    for id in others:
        assert handles[id].result(PATIENCE_S) == [1, 2, 3]
    expected = {f"{id}.{place}" for id in ids for place in (1, 3)}
    assert world.begun() == dict.fromkeys(expected, 1), "no step twice, and none of the new code"


def test_a_detached_call_whose_id_changes_is_not_made_twice(world: World) -> None:
    world.start_broker()
    old = world.start_node("n-1")
    handle = world.runtime.options(target="g").rpc("h", "hands_over")
    world.wait_settled("h-audit")
    world.wait_suspended("h")
    new = replace(world, old, "n-1", NEXT)
    world.runtime.promises.resolve("h.answer", 7)
    wait_parked(world, "h")
    cause = world.task("h").cause or ""
    assert "the history holds detached leaf version 1 with the id h-audit" in cause
    assert "asks for detached leaf with the id h-check" in cause
    assert world.promise("h-check") is None
    replace(world, new, "n-1", FIRST)
    assert main(["tasks", "continue", "h", "--url", world.url]) == 0
    assert handle.result(PATIENCE_S) == 7
    assert world.begun() == {"h-audit": 1}
