"""The older REST: statuses, codes, idempotency keys, tasks, and every refusal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from understudy.edge.resonate import legacy
from understudy.edge.resonate.envelope import Refusal
from understudy.edge.resonate.own_store import OwnStore
from understudy_store.commands import TaskGet
from understudy_store.records import foreign_pid

T0 = 1_000_000
LATER = T0 + 60_000


class World:
    """A store in memory that is asked by method and path."""

    def __init__(self) -> None:
        self.store = OwnStore()
        self.now = T0
        self.addresses: dict[str, str] = {}
        self.clients = legacy.Clients(self.addresses.get)

    def ask(
        self, method: str, path: str, body: Any = None, key: str | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Send a request; return status and body."""
        path, _, query = path.partition("?")
        if key is not None:
            headers["idempotency-key"] = key
        data = b"" if body is None else json.dumps(body).encode()
        answer: legacy.Answer
        try:
            plan = legacy.plan_of(method, path, query, headers, data, self.clients)
            commands = next(plan)
            while True:
                commands = plan.send(self.store.ask_all(commands, self.now))
        except StopIteration as end:
            answer = end.value
        except Refusal as refusal:
            answer = legacy.error(refusal.status, refusal.message)
        return answer.status, json.loads(json.dumps(answer.body))

    def create(self, id_: str, target: str | None = None, key: str | None = None) -> Any:
        tags = {"resonate:invoke": target} if target else {}
        body = {"id": id_, "timeout": LATER, "tags": tags}
        status, found = self.ask("POST", "/promises", body, key)
        assert status == 201, found
        return found

    def settle(self, id_: str, state: str = "RESOLVED", **more: Any) -> tuple[int, Any]:
        return self.ask("PATCH", f"/promises/{id_}", {"state": state}, **more)

    def claim(self, id_: str, counter: int = 1, pid: str = "p", ttl: int = 5_000) -> Any:
        body = {"id": id_, "counter": counter, "processId": pid, "ttl": ttl}
        return self.ask("POST", "/tasks/claim", body)

    def held(self, what: str, id_: str, counter: int = 1) -> int:
        return self.ask("POST", f"/tasks/{what}", {"id": id_, "counter": counter})[0]

    def callback(self, leaf: str, root: str) -> tuple[int, Any]:
        body = {"rootPromiseId": root, "timeout": LATER, "recv": "poll://any@g/p"}
        return self.ask("POST", f"/promises/callback/{leaf}", body)

    def message(self, id_: str) -> Any:
        """Return the message that offers a task now."""
        (reply,) = self.store.ask_all((TaskGet(id_),), self.now)
        assert reply.task is not None
        assert reply.task.state == "pending"
        return legacy.message_of(reply.task, self.clients)


@pytest.fixture
def world() -> World:
    return World()


def code(answer: tuple[int, Any]) -> tuple[int, int]:
    return answer[0], answer[1]["error"]["code"]


# Promises ----------------------------------------------------------------------------------------


def test_a_promise(world: World) -> None:
    made = world.create("a/b", key="k")
    assert made == {
        "id": "a/b", "state": "PENDING", "param": {}, "value": {}, "timeout": LATER,
        "createdOn": T0, "idempotencyKeyForCreate": "k",
    }  # fmt: skip
    assert world.ask("GET", "/promises/a%2Fb") == (200, made)
    status, settled = world.settle("a/b", key="c")
    assert status == 201
    assert (settled["state"], settled["completedOn"]) == ("RESOLVED", T0)
    assert settled["idempotencyKeyForComplete"] == "c"


def test_keys_of_creates(world: World) -> None:
    body = {"id": "a", "timeout": LATER}
    made = world.create("a", key="k")
    assert world.ask("POST", "/promises", body, "k") == (200, made)
    assert world.ask("POST", "/promises", body, "k", strict="True") == (200, made)
    for key in (None, "other"):
        assert code(world.ask("POST", "/promises", body, key)) == (409, 40900)
    world.settle("a")
    assert world.ask("POST", "/promises", body, "k")[0] == 200
    assert code(world.ask("POST", "/promises", body, "k", strict="true")) == (409, 40900)
    world.create("b")
    assert code(world.ask("POST", "/promises", {"id": "b", "timeout": 1}, None)) == (409, 40900)


@pytest.mark.parametrize(
    ("state", "expected"),
    [("RESOLVED", 40300), ("REJECTED", 40301), ("REJECTED_CANCELED", 40302)],
)
def test_keys_of_settlements(world: World, state: str, expected: int) -> None:
    world.create("a")
    assert world.settle("a", state, key="k")[0] == 201
    for again in ("RESOLVED", "REJECTED", "REJECTED_CANCELED"):
        assert world.settle("a", again, key="k")[0] == 200
        strictly = world.settle("a", again, key="k", strict="True")
        assert strictly[0] == (200 if again == state else 403)
        for key in (None, "other"):
            assert code(world.settle("a", again, key=key)) == (403, expected)


def test_a_promise_that_has_timed_out(world: World) -> None:
    world.create("a")
    world.now = LATER
    status, found = world.settle("a", key="k")
    assert (status, found["state"]) == (200, "REJECTED_TIMEDOUT")
    assert code(world.settle("a", key="k", strict="True")) == (403, 40303)


def test_a_timer(world: World) -> None:
    tags = {"resonate:timeout": "true"}
    world.ask("POST", "/promises", {"id": "a", "timeout": LATER, "tags": tags})
    world.now = LATER
    assert world.ask("GET", "/promises/a")[1]["state"] == "RESOLVED"


def test_searches(world: World) -> None:
    for id_ in ("a.1", "a.2", "a.3", "b.1"):
        world.create(id_)
    world.settle("a.1", "REJECTED")
    world.settle("a.2", "REJECTED_CANCELED")

    def ids(query: str) -> list[str]:
        return [each["id"] for each in world.ask("GET", f"/promises?{query}")[1]["promises"]]

    assert ids("id=a.*") == ["a.1", "a.2", "a.3"]
    assert ids("id=*.1") == ["a.1", "b.1"]
    assert ids("id=*&state=rejected") == ["a.1", "a.2"]
    assert ids("id=*&state=pending") == ["a.3", "b.1"]
    cursor = world.ask("GET", "/promises?id=*&limit=3")[1]["cursor"]
    assert ids(f"id=*&limit=3&cursor={cursor}") == ["b.1"]


# Tasks -------------------------------------------------------------------------------------------


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
    world.clients = legacy.Clients(world.addresses.get)
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
    world.clients = legacy.Clients(world.addresses.get)


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
    offered = []
    message = {"task": {"id": "__invoke:a", "counter": 1}}
    for _ in range(2):
        world.held("complete", **{"id_": message["task"]["id"], "counter": len(offered) + 1})
        message = world.message("a")
        offered.append(message["task"]["id"])
        world.claim(message["task"]["id"], len(offered) + 1)
    assert offered == ["__resume:a:a.2", "__resume:a:a.1"]
    world.held("complete", message["task"]["id"], 3)
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


def test_subscriptions(world: World) -> None:
    world.create("a")
    body = {"id": "s", "timeout": LATER, "recv": "poll://uni@g/p"}
    status, found = world.ask("POST", "/promises/subscribe/a", body)
    assert (status, found["callback"]["id"]) == (201, "__notify:a:s")
    assert "callback" in world.ask("POST", "/subscriptions", {**body, "promiseId": "a"})[1]
    world.settle("a")
    assert world.ask("POST", "/promises/subscribe/a", body)[1].keys() == {"promise"}
    ((address, promise),) = world.store.unblocks()
    assert address == "poll://uni@g/p"
    told = legacy.notify_of(promise)
    assert (told["type"], told["promise"]["state"]) == ("notify", "RESOLVED")


def test_a_pid_is_not_that_of_a_peer(world: World) -> None:
    world.create("a", "poll://g")
    world.claim("__invoke:a", pid="node-1#x")
    (reply,) = world.store.ask_all((TaskGet("a"),), T0)
    assert reply.task is not None
    assert reply.task.pid == foreign_pid("node-1#x")


# Schedules ---------------------------------------------------------------------------------------


def test_schedules(world: World) -> None:
    body = {
        "id": "s", "cron": "* * * * *", "promiseId": "p.{{.timestamp}}", "promiseTimeout": 5,
        "promiseTags": {"resonate:invoke": "poll://g"}, "description": "d", "tags": {},
    }  # fmt: skip
    status, made = world.ask("POST", "/schedules", body, "k")
    assert status == 201
    assert (made["promiseId"], made["idempotencyKey"]) == ("p.{{.timestamp}}", "k")
    assert made["promiseTags"] == {"resonate:invoke": "poll://g"}
    assert world.ask("POST", "/schedules", body, "k") == (200, made)
    assert code(world.ask("POST", "/schedules", body)) == (409, 40900)
    assert world.ask("GET", "/schedules/s") == (200, made)
    assert world.ask("GET", "/schedules?id=*")[1] == {"schedules": [made]}
    assert world.ask("DELETE", "/schedules/s") == (204, None)
    assert world.ask("GET", "/schedules/s")[0] == 404


# Refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "/promises/absent", None, (404, 40400)),
        ("PATCH", "/promises/absent", {"state": "RESOLVED"}, (404, 40400)),
        ("PATCH", "/promises/a", {"state": "PENDING"}, (400, 40000)),
        ("PATCH", "/promises/a", {}, (400, 40000)),
        ("POST", "/promises", {"id": "x"}, (400, 40000)),
        ("POST", "/promises", {"id": "", "timeout": 1}, (400, 40000)),
        ("POST", "/promises", {"id": "x", "timeout": -1}, (400, 40000)),
        ("POST", "/promises", {"id": "x", "timeout": 1, "tags": {"resonate:invoke": "a b"}},
         (400, 40000)),
        ("POST", "/promises", {"id": "x", "timeout": 1, "tags": {"understudy:x": "1"}},
         (400, 40000)),
        ("POST", "/promises", None, (400, 40000)),
        ("POST", "/promises/task", {"promise": {"id": "x", "timeout": 1}}, (400, 40000)),
        ("POST", "/promises/callback/absent",
         {"rootPromiseId": "t", "recv": "poll://g"}, (404, 40400)),
        ("POST", "/promises/callback/a", {"rootPromiseId": "a", "recv": "poll://g"}, (400, 40000)),
        ("POST", "/promises/callback/a", {"rootPromiseId": "b", "recv": "poll://g"}, (400, 40000)),
        ("POST", "/promises/callback/a", {"rootPromiseId": "t", "recv": {}}, (400, 40000)),
        ("POST", "/promises/subscribe/absent", {"id": "s", "recv": "poll://g"}, (404, 40400)),
        ("POST", "/promises/subscribe/a", {"id": "s", "recv": "no://g"}, (400, 40000)),
        ("GET", "/promises?id=*&state=gone", None, (400, 40000)),
        ("GET", "/promises?id=*&limit=0", None, (400, 40000)),
        ("POST", "/tasks/claim", {"id": "__invoke:t", "counter": 0, "processId": "p", "ttl": 1},
         (400, 40000)),
        ("POST", "/tasks/heartbeat", {}, (400, 40000)),
        ("POST", "/schedules", {"id": "s", "cron": "no", "promiseId": "p", "promiseTimeout": 1},
         (400, 40000)),
        ("DELETE", "/schedules/absent", None, (404, 40400)),
        ("PUT", "/promises", None, (404, 40400)),
        ("POST", "/tasks/other", None, (404, 40400)),
    ],
)  # fmt: skip
def test_it_is_refused(
    world: World, method: str, path: str, body: Any, expected: tuple[int, int]
) -> None:
    world.create("a")
    world.create("t", "poll://g")
    assert code(world.ask(method, path, body)) == expected
