"""Every refusal of the protocol's page has its status; and the order in which they come."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.sdk.edge.resonate.world import LATER, World, envelope
from understudy.edge.resonate.envelope import VERSION

CREATE = {"kind": "promise.create", "data": {"id": "a", "timeoutAt": LATER, "tags": {}}}
TARGETED = {
    "kind": "promise.create",
    "data": {"id": "a", "timeoutAt": LATER, "tags": {"resonate:target": "poll://any@g"}},
}


def settle_of(id_: str, state: str = "resolved") -> dict[str, Any]:
    return {"kind": "promise.settle", "data": {"id": id_, "state": state}}


def callback(awaited: str, awaiter: str) -> dict[str, Any]:
    return {"kind": "promise.register_callback", "data": {"awaited": awaited, "awaiter": awaiter}}


#: Of a store that has nothing, or only what `furnish` makes: operation, data, status.
REFUSED: list[tuple[str, dict[str, Any], int]] = [
    ("promise.get", {}, 400),
    ("promise.get", {"id": 1}, 400),
    ("promise.get", {"id": ""}, 400),
    ("promise.get", {"id": "absent"}, 404),
    ("promise.create", {"id": "x"}, 400),
    ("promise.create", {"id": "", "timeoutAt": LATER}, 400),
    ("promise.create", {"id": "a\0b", "timeoutAt": LATER}, 400),
    ("promise.create", {"id": "x" * 513, "timeoutAt": LATER}, 400),
    ("promise.create", {"id": "x", "timeoutAt": -1}, 400),
    ("promise.create", {"id": "x", "timeoutAt": 2**63}, 400),
    ("promise.create", {"id": "x", "timeoutAt": 1.5}, 400),
    ("promise.create", {"id": "x", "timeoutAt": LATER, "param": None}, 400),
    ("promise.create", {"id": "x", "timeoutAt": LATER, "param": {"data": 7}}, 400),
    ("promise.create", {"id": "x", "timeoutAt": LATER, "param": {"headers": {"a": 1}}}, 400),
    ("promise.create", {"id": "x", "timeoutAt": LATER, "tags": {"a": 1}}, 400),
    ("promise.create", {"id": "x", "timeoutAt": LATER, "tags": {"understudy:timer": "true"}}, 400),
    *(
        ("promise.create", {"id": "x", "timeoutAt": LATER, "tags": {"resonate:target": t}}, 400)
        for t in ("", "poll://uni@g", "https://me:pw@x.org/", "gcps://p/t", "bash://x", "a b")
    ),
    ("promise.settle", {"id": "absent", "state": "resolved"}, 404),
    ("promise.settle", {"id": "free", "state": "pending"}, 400),
    ("promise.settle", {"id": "free", "state": "rejected_timedout"}, 400),
    ("promise.settle", {"id": "free"}, 400),
    ("promise.register_callback", {"awaited": "free", "awaiter": "free"}, 400),
    ("promise.register_callback", {"awaited": "absent", "awaiter": "held"}, 404),
    ("promise.register_callback", {"awaited": "free", "awaiter": "absent"}, 422),
    ("promise.register_callback", {"awaited": "free", "awaiter": "other"}, 422),
    ("promise.register_listener", {"awaited": "free", "address": "https:///x"}, 400),
    ("promise.register_listener", {"awaited": "free", "address": ""}, 400),
    ("promise.register_listener", {"awaited": "absent", "address": "poll://any@g"}, 404),
    ("promise.search", {"limit": 0}, 400),
    ("promise.search", {"limit": 1001}, 400),
    ("promise.search", {"state": "gone"}, 400),
    ("task.get", {"id": "absent"}, 404),
    ("task.get", {"id": "free"}, 404),
    ("task.create", {"pid": "", "ttl": 1, "action": TARGETED}, 400),
    ("task.create", {"pid": "p", "ttl": 0, "action": TARGETED}, 400),
    ("task.create", {"pid": "p", "ttl": 1, "action": CREATE}, 400),
    ("task.create", {"pid": "p", "ttl": 1, "action": settle_of("a")}, 400),
    ("task.create", {"pid": "p", "ttl": 1}, 400),
    *(
        ("task.create", {"pid": "p", "ttl": 1, "action": {
            "kind": "promise.create",
            "data": {"id": id_, "timeoutAt": LATER, "tags": {"resonate:target": "g"}},
        }}, status)
        for id_, status in (("held", 409), ("suspended", 409), ("halted", 409), ("free", 422))
    ),
    ("task.acquire", {"id": "absent", "version": 0, "pid": "p", "ttl": 1}, 404),
    ("task.acquire", {"id": "free", "version": 0, "pid": "p", "ttl": 1}, 404),
    ("task.acquire", {"id": "held", "version": 1, "pid": "p", "ttl": 1}, 409),
    ("task.acquire", {"id": "waits", "version": 1, "pid": "p", "ttl": 1}, 409),
    ("task.acquire", {"id": "waits", "version": -1, "pid": "p", "ttl": 1}, 400),
    ("task.acquire", {"id": "waits", "version": 0, "pid": "p", "ttl": 0}, 400),
    ("task.acquire", {"id": "waits", "version": 0, "pid": "", "ttl": 1}, 400),
    ("task.release", {"id": "absent", "version": 1}, 404),
    ("task.release", {"id": "held", "version": 2}, 409),
    ("task.release", {"id": "waits", "version": 0}, 409),
    ("task.fulfill", {"id": "held", "version": 1, "action": settle_of("free")}, 400),
    ("task.fulfill", {"id": "held", "version": 1, "action": settle_of("held", "pending")}, 400),
    ("task.fulfill", {"id": "held", "version": 1, "action": CREATE}, 400),
    ("task.fulfill", {"id": "absent", "version": 1, "action": settle_of("absent")}, 404),
    ("task.fulfill", {"id": "held", "version": 2, "action": settle_of("held")}, 409),
    ("task.suspend", {"id": "held", "version": 1, "actions": []}, 400),
    ("task.suspend", {"id": "held", "version": 1, "actions": [callback("free", "other")]}, 400),
    ("task.suspend", {"id": "held", "version": 1, "actions": [callback("held", "held")]}, 400),
    ("task.suspend", {"id": "held", "version": 1, "actions": [CREATE]}, 400),
    ("task.suspend", {"id": "absent", "version": 1, "actions": [callback("free", "absent")]}, 404),
    ("task.suspend", {"id": "held", "version": 2, "actions": [callback("free", "held")]}, 409),
    ("task.suspend", {"id": "held", "version": 1, "actions": [callback("absent", "held")]}, 422),
    ("task.fence", {"id": "held", "version": 1, "action": settle_of("held")}, 400),
    ("task.fence", {"id": "held", "version": 1, "action": callback("free", "held")}, 400),
    ("task.fence", {"id": "held", "version": 1, "action": settle_of("free", "pending")}, 400),
    ("task.fence", {"id": "held", "version": 1, "action": {
        "kind": "promise.create", "data": {"id": "y" * 513, "timeoutAt": LATER}}}, 400),
    ("task.fence", {"id": "absent", "version": 1, "action": CREATE}, 404),
    ("task.fence", {"id": "held", "version": 2, "action": CREATE}, 409),
    ("task.heartbeat", {"pid": "", "tasks": []}, 400),
    ("task.heartbeat", {"pid": "p"}, 400),
    ("task.halt", {"id": "absent"}, 404),
    ("task.halt", {"id": "done"}, 409),
    ("task.continue", {"id": "absent"}, 404),
    ("task.continue", {"id": "held"}, 409),
    ("task.search", {"limit": 0}, 400),
    ("task.search", {"state": "resolved"}, 400),
    ("schedule.create", {"id": "s", "cron": "no", "promiseId": "p", "promiseTimeout": 1}, 400),
    ("schedule.create", {"id": "s", "cron": "* * * * *", "promiseId": "p",
                         "promiseTimeout": -1}, 400),
    ("schedule.create", {"id": "", "cron": "* * * * *", "promiseId": "p",
                         "promiseTimeout": 1}, 400),
    ("schedule.get", {"id": "absent"}, 404),
    ("schedule.delete", {"id": "absent"}, 404),
    ("schedule.search", {"limit": 1001}, 400),
    ("debug.tick", {}, 400),
    ("debug.unknown", {}, 400),
    ("unknown", {}, 400),
]  # fmt: skip


def furnish(world: World) -> None:
    """Make a promise without a task, and tasks in each state."""
    world.create("free")
    world.create("other")
    world.create("waits", "poll://any@g")
    world.hold("held")
    world.hold("suspended")
    assert world.suspend("suspended", "free")[0] == 200
    world.create("halted", "poll://any@g")
    world.ok("task.halt", id="halted")
    world.create("done", "poll://any@g")
    world.settle("done")


@pytest.fixture(scope="module")
def furnished() -> World:
    world = World()
    furnish(world)
    return world


@pytest.mark.parametrize(("kind", "data", "status"), REFUSED)
def test_it_is_refused(furnished: World, kind: str, data: dict[str, Any], status: int) -> None:
    assert furnished.ask(kind, **data)[0] == status


STRICT: list[tuple[str, dict[str, Any], int]] = [
    ("promise.create", {"id": "x", "timeoutAt": LATER, "tags": {"resonate:origin": "y"}}, 400),
    ("promise.create", {"id": "x:1", "timeoutAt": LATER,
                        "tags": {"resonate:origin": "x", "resonate:branch": "y"}}, 400),
    ("promise.create", {"id": "x", "timeoutAt": LATER, "tags": {"resonate:delay": "1"}}, 400),
    ("promise.create", {"id": "x", "timeoutAt": LATER,
                        "tags": {"resonate:delay": str(LATER),
                                 "resonate:target": "poll://any@g"}}, 400),
    ("promise.create", {"id": "x", "timeoutAt": LATER,
                        "tags": {"resonate:delay": "soon",
                                 "resonate:target": "poll://any@g"}}, 400),
    ("promise.create", {"id": "x", "timeoutAt": LATER, "tags": {"resonate:target": "g"}}, 400),
    ("promise.create", {"id": "x", "timeoutAt": LATER,
                        "tags": {"resonate:target": "poll://g"}}, 400),
    ("promise.register_callback", {"awaited": "free", "awaiter": "held"}, 400),
    ("promise.register_listener", {"awaited": "free", "address": "poll://g"}, 400),
    ("promise.register_listener", {"awaited": "free", "address": "poll://any@g"}, 422),
    ("task.suspend", {"id": "held", "version": 1, "actions": [callback("free", "held")]}, 400),
    ("task.heartbeat", {"pid": "p", "tasks": []}, 400),
    ("task.heartbeat", {"pid": "p", "tasks": [{"id": "a", "version": 1},
                                              {"id": "b", "version": 1}]}, 400),
    ("task.create", {"pid": "p", "ttl": 1, "action": {"kind": "promise.create", "data": {
        "id": "x", "timeoutAt": LATER,
        "tags": {"resonate:target": "poll://any@g", "resonate:delay": "1"}}}}, 400),
    ("schedule.create", {"id": "a.b", "cron": "* * * * *", "promiseId": "p", "promiseTimeout": 1,
                         "promiseTags": {"resonate:target": "poll://any@g"}}, 400),
    ("schedule.create", {"id": "s", "cron": "* * * * *", "promiseId": "p",
                         "promiseTimeout": 1}, 400),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "data", "status"), STRICT)
def test_it_is_refused_strictly(kind: str, data: dict[str, Any], status: int) -> None:
    world = World(strict=True)
    world.create("free")
    world.hold("held")
    assert world.ask(kind, **data)[0] == status


def test_what_only_strictness_refuses_is_performed_otherwise() -> None:
    world = World()
    world.create("free")
    world.hold("held")
    for kind, data, _ in STRICT:
        if kind in ("promise.create", "schedule.create"):
            assert world.ask(kind, **data)[0] == 200, (kind, data)
    assert world.ask("task.heartbeat", pid="p", tasks=[])[0] == 200


def head(**fields: Any) -> dict[str, Any]:
    return {"corrId": "c", "version": VERSION} | fields


#: bytes, then kind and correlation id of the answer
MALFORMED: list[tuple[bytes, str, str]] = [
    (b"", "unknown", "0"),
    (b"{", "unknown", "0"),
    (b"[]", "unknown", "0"),
    (b"null", "unknown", "0"),
    (b"\xff\xfe", "unknown", "0"),
    (b"[" * 100_000, "unknown", "0"),
    (json.dumps({"head": head(), "data": {}}).encode(), "unknown", "c"),
    (json.dumps({"kind": 1, "head": head(), "data": {}}).encode(), "unknown", "c"),
    (json.dumps({"kind": "promise.get", "data": {}}).encode(), "promise.get", "0"),
    (json.dumps({"kind": "promise.get", "head": {"version": VERSION}, "data": {}}).encode(),
     "promise.get", "0"),
    (json.dumps({"kind": "promise.get", "head": head(corrId=7), "data": {}}).encode(),
     "promise.get", "0"),
    (json.dumps({"kind": "", "head": head(), "data": {}}).encode(), "", "c"),
    (json.dumps({"kind": "promise.get", "head": head()}).encode(), "promise.get", "c"),
    (json.dumps({"kind": "promise.get", "head": head(), "data": None}).encode(),
     "promise.get", "c"),
    (json.dumps({"kind": "promise.get", "head": head(), "data": []}).encode(), "promise.get", "c"),
    (json.dumps({"kind": "promise.get", "head": head(version="1"), "data": {}}).encode(),
     "promise.get", "c"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "kind", "corr"), MALFORMED)
def test_a_malformed_envelope_is_answered_with_what_can_be_read(
    body: bytes, kind: str, corr: str
) -> None:
    answer = World().send(body)
    assert (answer["kind"], answer["head"]["corrId"]) == (kind, corr)
    assert answer["head"]["status"] == 400
    assert isinstance(answer["data"], str)


def test_the_order_of_refusals() -> None:
    world = World()

    def message(kind: str, data: Any, version: str = VERSION) -> str:
        text: str = world.send(envelope(kind, data, version=version))["data"]
        return text

    assert "kind is empty" in message("", [], "1")
    assert "object" in message("unknown", [], "1")
    assert "version" in message("unknown", {}, "1")
    assert "Unknown operation" in message("unknown", {})
    # data before the address, the address before the state
    bad_target = {"resonate:target": "https://"}
    assert "timeoutAt" in message("promise.create", {"id": "a", "tags": bad_target})
    inner = {"id": "b", "timeoutAt": LATER, "tags": bad_target}
    action = {"kind": "promise.create", "data": inner}
    asked = {"id": "absent", "version": 1, "action": action}
    assert "resonate:target" in message("task.fence", asked)


def test_unknown_members_are_ignored() -> None:
    body = {"kind": "promise.create", "x": 1, "head": head(y=2, **{"resonate:origin": "a"})}
    body["data"] = {"id": "a", "timeoutAt": LATER, "z": None}
    assert World().send(json.dumps(body).encode())["head"]["status"] == 200
