"""Promises by the older REST: statuses, codes, idempotency keys, searches, subscriptions."""

from __future__ import annotations

import pytest

from tests.unit.sdk.edge.resonate.legacy.rest import LATER, T0, World, code, world
from understudy.edge.resonate.legacy.tasks import notify_of

__all__ = ["world"]


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
    told = notify_of(promise)
    assert (told["type"], told["promise"]["state"]) == ("notify", "RESOLVED")
