"""What each operation does, as the protocol's page says it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.sdk.edge.resonate.world import LATER, T0, World, b64


@pytest.fixture
def world() -> World:
    return World()


def test_a_record_has_no_absent_members(world: World) -> None:
    made = world.create("a", param={"headers": None, "data": None})
    assert made == {
        "id": "a", "state": "pending", "param": {}, "value": {}, "tags": {}, "timeoutAt": LATER,
        "createdAt": T0,
    }  # fmt: skip
    settled = world.ok("promise.settle", id="a", state="rejected", value={"data": "x"})["promise"]
    assert settled == {**made, "state": "rejected", "value": {"data": "x"}, "settledAt": T0}


def test_an_existing_promise_is_returned_as_it_is(world: World) -> None:
    made = world.create("a", tags={"k": "1"})
    assert world.create("a", tags={"k": "2"}) == made
    world.settle("a")
    assert world.settle("a", "rejected")["state"] == "resolved"


def test_deadlines(world: World) -> None:
    world.create("plain")
    world.create("timer", tags={"resonate:timer": "true"})
    world.now = LATER
    assert (world.get("plain")["state"], world.get("plain")["settledAt"]) == (
        "rejected_timedout", LATER,
    )  # fmt: skip
    assert world.get("timer")["state"] == "resolved"


def test_one_that_is_past_its_deadline_is_born_settled(world: World) -> None:
    tags = {"resonate:target": "g"}
    made = world.ok("promise.create", id="a", timeoutAt=5, tags=tags)["promise"]
    assert (made["state"], made["createdAt"], made["settledAt"]) == ("rejected_timedout", 5, 5)
    assert world.task("a") == {"id": "a", "state": "fulfilled", "version": 0, "resumes": 0}


def test_the_greatest_deadline_is_echoed(world: World) -> None:
    made = world.ok("promise.create", id="a", timeoutAt=2**63 - 1)["promise"]
    assert made["timeoutAt"] == world.get("a")["timeoutAt"] == 2**63 - 1


def test_a_timer_with_a_target_has_no_task(world: World) -> None:
    tags = {"resonate:timer": "true", "resonate:target": "poll://any@g"}
    assert world.create("a", tags=tags)["tags"] == tags
    assert world.ask("task.get", id="a")[0] == 404
    world.now = LATER
    assert world.get("a")["state"] == "resolved"


def test_acquire_release_and_versions(world: World) -> None:
    world.create("a", "poll://any@g")
    assert world.task("a") == {"id": "a", "state": "pending", "version": 0, "resumes": 0}
    found = world.ok("task.acquire", id="a", version=0, pid="p#1", ttl=1000)
    assert found["task"] == {
        "id": "a", "state": "acquired", "version": 1, "resumes": 0, "ttl": 1000, "pid": "p#1",
    }  # fmt: skip
    assert world.ok("task.release", id="a", version=1) == {}
    assert world.task("a") == {"id": "a", "state": "pending", "version": 1, "resumes": 0}


def test_a_lease_lasts_for_its_ttl_and_is_renewed_by_name(world: World) -> None:
    world.hold("a")
    world.hold("b")
    held = [{"id": "a", "version": 1}, {"id": "b", "version": 9}, {"id": "c", "version": 1}]
    world.now += 6_000
    assert world.ok("task.heartbeat", pid="p", tasks=held) == {}
    world.now += 6_000
    world.ok("debug.tick", time=world.now)
    assert [world.task(id_)["state"] for id_ in "ab"] == ["acquired", "pending"]
    assert world.task("b")["version"] == 1
    assert world.ask("task.fulfill", id="b", version=1, action={
        "kind": "promise.settle", "data": {"id": "b", "state": "resolved"}})[0] == 409  # fmt: skip


def test_a_heartbeat_without_tasks_renews_nothing(world: World) -> None:
    world.hold("a")
    world.now += 9_000
    world.ok("task.heartbeat", pid="p", tasks=[])
    world.ok("task.heartbeat", pid="another", tasks=[{"id": "a", "version": 1}])
    world.now += 2_000
    world.ok("debug.tick", time=world.now)
    assert world.task("a")["state"] == "pending"


def test_create_and_acquire_in_one(world: World) -> None:
    def create(id_: str) -> tuple[int, Any]:
        data = {"id": id_, "timeoutAt": LATER, "tags": {"resonate:target": "g"}}
        action = {"kind": "promise.create", "data": data}
        return world.ask("task.create", pid="p", ttl=10, action=action)

    status, found = create("a")
    assert status == 200
    assert (found["task"]["state"], found["task"]["version"]) == ("acquired", 1)
    assert (found["promise"]["id"], found["preload"]) == ("a", [])
    assert create("a") == (409, "Already exists")
    world.ok("task.release", id="a", version=1)
    assert create("a")[1]["task"]["version"] == 2
    world.settle("a")
    status, found = create("a")
    assert (status, found["task"]["state"], found["promise"]["state"]) == (
        200, "fulfilled", "resolved",
    )  # fmt: skip


def test_fence(world: World) -> None:
    world.hold("a", tags={"resonate:branch": "a"})
    tags = {"resonate:branch": "a", "resonate:scope": "local"}
    status, found = world.fence("a", "promise.create", id="a.1", timeoutAt=LATER, tags=tags)
    assert status == 200
    assert found["action"]["head"] == {"corrId": "c-1", "status": 200, "version": "2026-04-01"}
    made = found["action"]["data"]["promise"]
    assert (found["action"]["kind"], made["id"], made["tags"]) == ("promise.create", "a.1", tags)
    assert [each["id"] for each in found["preload"]] == ["a.1"]
    value = {"data": b64(1)}
    _, found = world.fence("a", "promise.settle", id="a.1", state="resolved", value=value)
    assert found["action"]["data"]["promise"]["value"] == value
    _, again = world.fence("a", "promise.settle", id="a.1", state="rejected")
    assert again["action"]["data"]["promise"] == found["action"]["data"]["promise"]


def test_a_fence_about_a_promise_that_does_not_exist(world: World) -> None:
    world.hold("a")
    status, found = world.fence("a", "promise.settle", id="absent", state="resolved")
    assert (status, found["action"]["head"]["status"]) == (200, 404)
    assert found["action"]["data"] == "Promise not found"


def test_a_fence_may_tag_any_branch(world: World) -> None:
    world.hold("a", tags={"resonate:branch": "a"})
    tags = {"resonate:branch": "a.1", "resonate:target": "g", "resonate:parent": "a"}
    _, found = world.fence("a", "promise.create", id="a.1", timeoutAt=LATER, tags=tags)
    assert found["action"]["data"]["promise"]["tags"] == tags
    assert found["preload"] == []


def test_the_preload_is_the_branch(world: World) -> None:
    world.hold("a", tags={"resonate:branch": "a"})
    for id_, branch in (("a.2", "a"), ("a.1", "a"), ("a.3", "a.3")):
        world.fence(
            "a", "promise.create", id=id_, timeoutAt=LATER, tags={"resonate:branch": branch}
        )
    world.create("a.4", tags={"resonate:branch": "a"})
    world.ok("task.release", id="a", version=1)
    found = world.ok("task.acquire", id="a", version=1, pid="p", ttl=10)
    assert [each["id"] for each in found["preload"]] == ["a.1", "a.2", "a.4"]


def test_the_preload_of_a_branch_of_another_name(world: World) -> None:
    world.create("b.1", tags={"resonate:branch": "b"})
    world.create("a", "g", tags={"resonate:branch": "b"})
    found = world.ok("task.acquire", id="a", version=0, pid="p", ttl=10)
    assert [each["id"] for each in found["preload"]] == ["b.1"]
    world.create("c", "g")
    assert world.ok("task.acquire", id="c", version=0, pid="p", ttl=10)["preload"] == []


def test_suspend_and_resume(world: World) -> None:
    world.hold("a")
    world.create("x")
    world.create("y")
    assert world.suspend("a", "x", "y", "x") == (200, {})
    assert world.task("a")["state"] == "suspended"
    world.settle("x")
    assert world.task("a") == {"id": "a", "state": "pending", "version": 1, "resumes": 1}
    world.settle("y")
    assert world.task("a")["resumes"] == 2
    world.ok("task.acquire", id="a", version=1, pid="p", ttl=10)
    assert world.task("a")["resumes"] == 0


def test_suspending_on_what_has_settled(world: World) -> None:
    world.hold("a", tags={"resonate:branch": "a"})
    world.fence("a", "promise.create", id="a.1", timeoutAt=LATER, tags={"resonate:branch": "a"})
    world.create("x")
    world.settle("x")
    status, found = world.suspend("a", "x", "a.1")
    assert (status, [each["id"] for each in found["preload"]]) == (300, ["a.1"])
    assert world.task("a")["state"] == "acquired"


def test_a_callback_on_what_has_settled_is_answered_with_it(world: World) -> None:
    world.hold("a")
    world.create("x")
    world.settle("x")
    found = world.ok("promise.register_callback", awaited="x", awaiter="a")
    assert found["promise"]["state"] == "resolved"


def test_local_promises_can_be_waited_for(world: World) -> None:
    world.create("x", tags={"resonate:scope": "local"})
    found = world.ok("promise.register_listener", awaited="x", address="poll://g")
    assert found["promise"]["state"] == "pending"


def test_halt_and_continue(world: World) -> None:
    world.hold("a")
    assert world.ok("task.halt", id="a") == world.ok("task.halt", id="a") == {}
    assert world.task("a") == {"id": "a", "state": "halted", "version": 1, "resumes": 0}
    assert world.ok("task.continue", id="a") == {}
    assert world.task("a")["state"] == "pending"


def test_searches_have_pages(world: World) -> None:
    for n in range(5):
        world.create(f"p{n}", "g" if n % 2 else None, tags={"even": str(n % 2 == 0)})
    found = world.ok("promise.search", limit=2, tags={"even": "True"})
    assert [each["id"] for each in found["promises"]] == ["p0", "p2"]
    found = world.ok("promise.search", tags={"even": "True"}, cursor=found["cursor"])
    assert [each["id"] for each in found["promises"]] == ["p4"]
    assert "cursor" not in found
    assert world.ok("promise.search", state="resolved") == {"promises": []}
    assert len(world.ok("promise.search", tags={"resonate:target": "g"})["promises"]) == 2
    assert [each["id"] for each in world.ok("task.search", state="pending")["tasks"]] == [
        "p1", "p3",
    ]  # fmt: skip


def schedule(id_: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id_, "cron": "* * * * *", "promiseId": "{{.id}}-{{.timestamp}}",
        "promiseTimeout": 1_000, **more,
    }  # fmt: skip


def test_schedules(world: World) -> None:
    param = {"data": b64({"func": "f", "args": []})}
    tags = {"resonate:target": "poll://any@g", "mine": "1"}
    asked = schedule("s", promiseParam=param, promiseTags=tags)
    made = world.ok("schedule.create", **asked)["schedule"]
    due = made["nextRunAt"]
    assert made == {**asked, "createdAt": T0, "nextRunAt": due}
    assert world.ok("schedule.create", **schedule("s"))["schedule"] == made
    world.now = due
    world.ok("debug.tick", time=due)
    assert world.ok("schedule.get", id="s")["schedule"]["lastRunAt"] == due
    fired = world.get(f"s-{due}")
    assert fired["param"] == param
    own = dict.fromkeys(("origin", "branch", "parent", "prefix"), f"s-{due}")
    assert fired["tags"] == {
        **tags, "resonate:schedule": "s", **{f"resonate:{k}": v for k, v in own.items()},
    }  # fmt: skip
    assert (fired["createdAt"], fired["timeoutAt"]) == (due, due + 1_000)
    assert world.ok("schedule.delete", id="s") == {}
    assert world.ask("schedule.get", id="s")[0] == 404


@pytest.mark.parametrize("cron", ["*/5 * * * *", "30 * * * * *", "0 * * * * * *"])
def test_cron_lines_of_five_to_seven_fields(world: World, cron: str) -> None:
    assert world.ask("schedule.create", **schedule("s", cron=cron))[0] == 200


def test_schedules_are_found_by_tags(world: World) -> None:
    for n in range(25):
        kind = "even" if n % 2 == 0 else "odd"
        world.ok("schedule.create", **schedule(f"s{n:02}", promiseTags={"kind": kind}))
    assert len(world.ok("schedule.search")["schedules"]) == 10
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = world.ok("schedule.search", tags={"kind": "even"}, limit=4, **cursor)
        found += [each["id"] for each in page["schedules"]]
        if "cursor" not in page:
            break
        cursor = {"cursor": page["cursor"]}
    assert found == [f"s{n:02}" for n in range(0, 25, 2)]


def test_debug_operations(world: World) -> None:
    world.ok("debug.start")
    world.create("a", "poll://any@g")
    world.create("x")
    world.ok("promise.register_listener", awaited="x", address="poll://uni@g/1")
    world.settle("x")
    world.hold("b")
    world.create("y")
    world.suspend("b", "y")
    world.ok("promise.register_listener", awaited="y", address="poll://any@g")
    snap = world.ok("debug.snap")
    assert [each["id"] for each in snap["promises"]] == ["a", "b", "x", "y"]
    assert snap["promiseTimeouts"] == [{"id": id_, "timeout": LATER} for id_ in "aby"]
    assert snap["callbacks"] == [{"awaiter": "b", "awaited": "y"}]
    assert snap["listeners"] == [{"id": "y", "address": "poll://any@g"}]
    assert [(each["id"], each["state"]) for each in snap["tasks"]] == [
        ("a", "pending"), ("b", "suspended"),
    ]  # fmt: skip
    assert snap["taskTimeouts"] == [{"id": "a", "type": 0, "timeout": T0 + 30_000}]
    (execute, unblock) = snap["messages"]
    assert execute["message"]["data"] == {"task": {"id": "a", "version": 0}}
    assert (unblock["address"], unblock["message"]["data"]["promise"]["id"]) == (
        "poll://uni@g/1", "x",
    )  # fmt: skip
    assert world.ok("debug.tick", time=LATER) == []
    world.now = LATER
    assert world.get("a")["state"] == "rejected_timedout"
    world.ok("debug.reset")
    assert world.ok("debug.snap")["promises"] == []
    world.ok("debug.stop")


def test_the_time_of_a_debug_request_may_go_back(world: World) -> None:
    world.now = LATER
    world.ok("promise.create", id="a", timeoutAt=LATER + 1)
    world.now = T0
    assert world.create("b")["createdAt"] == T0
