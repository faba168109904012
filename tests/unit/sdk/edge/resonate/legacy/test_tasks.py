"""Tasks by the older REST: claims, completions, resumption, also where an edge has forgotten."""

from __future__ import annotations

from tests.unit.sdk.edge.resonate.legacy.rest import LATER, T0, World, code, world
from understudy.edge.resonate.legacy.clients import Clients
from understudy_store.commands import TaskGet
from understudy_store.records import foreign_pid

__all__ = ["world"]


def test_create_with_task(world: World) -> None:
    promise = {"id": "a", "timeout": LATER, "tags": {"resonate:invoke": "poll://default"}}
    body = {"promise": promise, "task": {"processId": "p", "ttl": 10}}
    status, found = world.ask("POST", "/promises/task", body, "k")
    assert (status, found["promise"]["id"]) == (201, "a")
    assert found["task"] == {
        "id": "__invoke:a", "counter": 1, "timeout": LATER, "rootPromiseId": "a",
        "createdOn": T0,
    }  # fmt: skip
    status, again = world.ask("POST", "/promises/task", body, "k")
    assert (status, again) == (200, {"promise": found["promise"]})
    assert code(world.ask("POST", "/promises/task", body)) == (409, 40900)
    body["promise"] = {"id": "b", "timeout": LATER}
    assert world.ask("POST", "/promises/task", body)[1].keys() == {"promise"}


def test_a_call_that_a_client_runs_is_resumed_there(world: World) -> None:
    world.addresses["p"] = "poll://any@there/p"
    promise = {"id": "a", "timeout": LATER, "tags": {"resonate:invoke": "poll://default"}}
    body = {"promise": promise, "task": {"processId": "p", "ttl": 10}}
    found = world.ask("POST", "/promises/task", body)[1]
    assert found["promise"]["tags"]["resonate:invoke"] == "poll://default"
    (reply,) = world.store.ask_all((TaskGet("a"),), T0)
    assert reply.task is not None
    assert reply.task.target == "poll://any@there/p"


def test_claims(world: World) -> None:
    world.create("a", "poll://g")
    assert world.message("a") == {"type": "invoke", "task": {"id": "__invoke:a", "counter": 1}}
    status, found = world.claim("__invoke:a")
    root = world.ask("GET", "/promises/a")[1]
    assert (status, found) == (
        201, {"type": "invoke", "promises": {
            "root": {"id": "a", "href": "/promises/a", "data": root}}},
    )  # fmt: skip
    for pid, counter in (("p", 2), ("other", 1)):
        assert code(world.claim("__invoke:a", counter, pid)) == (403, 40305)
    for absent in ("__invoke:b", "__resume:b:c", "a", "__resume:b"):
        assert code(world.claim(absent)) == (404, 40403)


def test_a_claim_whose_answer_was_lost_is_answered_again(world: World) -> None:
    for id_, target in (("a", "poll://g"), ("x", None)):
        world.create(id_, target)
    answer = world.claim("__invoke:a")
    assert world.claim("__invoke:a") == answer
    world.callback("x", "a")
    world.held("complete", "__invoke:a")
    world.settle("x")
    answer = world.claim("__resume:a:x", 2)
    assert world.claim("__resume:a:x", 2) == answer
    assert code(world.claim("__invoke:a")) == (403, 40305)
    # another edge, which does not know of the claim
    world.clients = Clients(world.addresses.get)
    assert world.claim("__resume:a:x", 2) == answer
    # one that was offered twice: the second claim comes when the first one's stretch is over
    world.settle("a")
    world.held("complete", "__resume:a:x", 2)
    status, found = world.claim("__resume:a:x", 2)
    assert (status, found["promises"]["root"]["data"]["state"]) == (201, "RESOLVED")
    assert code(world.claim("__resume:a:x", 2, "other")) == (403, 40305)


def test_a_lease_lapses_unless_it_is_renewed(world: World) -> None:
    world.create("a", "poll://g")
    world.claim("__invoke:a")
    world.now += 4_000
    beat = {"processId": "p"}
    assert world.ask("POST", "/tasks/heartbeat", beat) == (200, {"tasksAffected": 1})
    world.now += 4_000
    world.store.sweep(world.now)
    assert world.held("complete", "__invoke:a", 1) == 201
    assert world.ask("POST", "/tasks/heartbeat", beat) == (200, {"tasksAffected": 0})
    # one that another edge knows
    other = {"processId": "other"}
    assert world.ask("POST", "/tasks/heartbeat", other) == (200, {"tasksAffected": 1})


def test_a_task_waits_for_its_callbacks_and_is_resumed_by_each(world: World) -> None:
    for id_, target in (("a:b", "poll://g"), ("x:1", None), ("y", None), ("z", None)):
        world.create(id_, target)
    world.claim("__invoke:a:b")
    status, found = world.callback("x:1", "a:b")
    assert (status, found["callback"]["id"]) == (201, "__resume:a:b:x:1")
    assert world.callback("x:1", "a:b")[0] == 200
    world.callback("y", "a:b")
    world.callback("z", "a:b")
    world.settle("z")
    assert world.callback("z", "a:b") == (200, {"promise": world.ask("GET", "/promises/z")[1]})
    assert world.held("complete", "__invoke:a:b") == 201
    assert world.held("complete", "__invoke:a:b") == 201  # as their SDKs do
    world.settle("x:1")
    message = world.message("a:b")
    assert message == {"type": "resume", "task": {"id": "__resume:a:b:x:1", "counter": 2}}
    status, found = world.claim(message["task"]["id"], 2)
    assert (status, found["type"]) == (201, "resume")
    assert found["promises"]["root"]["id"] == "a:b"
    assert found["promises"]["leaf"]["data"]["state"] == "RESOLVED"
    # it does not say again what else it waits for
    world.settle("y")
    assert world.held("complete", "__invoke:a:b") == 201  # the stretch before this one
    assert world.held("complete", message["task"]["id"], 2) == 201
    message = world.message("a:b")
    assert message == {"type": "resume", "task": {"id": "__resume:a:b:y", "counter": 3}}
    world.claim(message["task"]["id"], 3)
    world.settle("a:b")
    assert world.held("complete", message["task"]["id"], 3) == 201
    assert world.held("complete", message["task"]["id"], 3) == 201


def another_edge(world: World) -> None:
    world.clients = Clients(world.addresses.get)


def test_a_task_whose_callbacks_nobody_remembers_is_offered_again(world: World) -> None:
    for id_, target in (("a", "poll://g"), ("x", None)):
        world.create(id_, target)
    world.claim("__invoke:a")
    world.callback("x", "a")
    another_edge(world)
    assert world.held("complete", "__invoke:a") == 201
    assert world.message("a")["type"] == "invoke"
    world.settle("x")
    assert world.message("a")["task"]["id"] == "__resume:a:x"


def test_a_settlement_before_the_completion_outlives_an_edge(world: World) -> None:
    for id_, target in (("a", "poll://g"), ("x", None)):
        world.create(id_, target)
    world.claim("__invoke:a")
    world.callback("x", "a")
    world.settle("x")
    world.held("complete", "__invoke:a")
    another_edge(world)
    assert world.message("a")["task"]["id"] == "__resume:a:x"


def test_a_client_that_knows_of_a_settlement_is_not_told_again(world: World) -> None:
    for id_, target in (("a", "poll://g"), ("x", None), ("y", None)):
        world.create(id_, target)
    world.claim("__invoke:a")
    world.callback("x", "a")
    world.settle("x")
    world.callback("x", "a")
    world.callback("y", "a")
    assert world.held("complete", "__invoke:a") == 201
    (reply,) = world.store.ask_all((TaskGet("a"),), T0)
    assert reply.task is not None
    assert reply.task.state == "suspended"


def test_another_edge_takes_a_task_to_wait_for_its_children_elsewhere(world: World) -> None:
    world.create("a", "poll://g")
    world.claim("__invoke:a")
    for id_ in ("a.1", "a.2", "a.3", "a.1.1"):
        world.create(id_, "poll://g")
    local = {"id": "a.4", "timeout": LATER, "tags": {"resonate:scope": "local"}}
    world.ask("POST", "/promises", local)
    for id_ in ("a.1", "a.2", "a.4", "a.1.1"):
        world.now += 1
        world.settle(id_)
    another_edge(world)
    world.held("complete", "__invoke:a")
    for counter, leaf in ((2, "a.2"), (3, "a.1")):
        assert world.message("a")["task"] == {"id": f"__resume:a:{leaf}", "counter": counter}
        world.claim(f"__resume:a:{leaf}", counter)
        world.held("complete", f"__resume:a:{leaf}", counter)
    world.settle("a.3")
    assert world.message("a")["task"]["id"] == "__resume:a:a.3"


def test_a_client_that_names_a_promise_is_not_told_of_others(world: World) -> None:
    world.create("a", "poll://g")
    world.claim("__invoke:a")
    for id_ in ("a.1", "a.2", "a.3"):
        world.create(id_, "poll://g")
    world.settle("a.1")
    world.settle("a.2")
    another_edge(world)
    world.held("complete", "__invoke:a")
    world.claim(world.message("a")["task"]["id"], 2)
    world.callback("a.3", "a")
    world.held("complete", "__resume:a:a.2", 2)
    world.settle("a.3")
    assert world.message("a")["task"]["id"] == "__resume:a:a.3"


def test_drop_and_a_wrong_counter(world: World) -> None:
    world.create("a", "poll://g")
    assert world.held("complete", "__invoke:a") == 403
    world.claim("__invoke:a")
    assert world.held("complete", "__invoke:a", 2) == 403
    assert world.held("drop", "__invoke:a", 2) == 403
    assert world.held("drop", "__invoke:a") == 201
    assert world.message("a")["task"]["counter"] == 2
    assert world.held("drop", "__invoke:b") == 404
    assert world.held("complete", "__invoke:b") == 404


def test_a_pid_is_not_that_of_a_peer(world: World) -> None:
    world.create("a", "poll://g")
    world.claim("__invoke:a", pid="node-1#x")
    (reply,) = world.store.ask_all((TaskGet("a"),), T0)
    assert reply.task is not None
    assert reply.task.pid == foreign_pid("node-1#x")
