"""Typed arguments: what a node announces, what the edge checks, and what a function gets."""

from __future__ import annotations

from tests.integration.sdk.edge.rig import NODE, Rig, eventually


def test_a_function_gets_what_its_annotations_say(rig: Rig) -> None:
    order = {"customer": "ann", "amount": 3, "due": "2026-01-02T03:04:05Z"}
    for body in ([order], {"order": order}):
        answer = rig.post("/calls/shop/describe?wait=30s", body)
        assert answer.json()["value"]["data"] == "Order 3 datetime"
    later = rig.post("/calls/shop/later?wait=30s", ["2026-01-02T03:04:05Z"])
    assert later.json()["value"]["data"] == "2027-01-02T03:04:05+00:00"


def test_arguments_that_do_not_suit_the_function(rig: Rig) -> None:
    refused = rig.post("/calls/shop/describe?id=refused", {"order": {"customer": 7, "amount": 1}})
    assert refused.status_code == 422
    assert refused.json()["field"] == "/order/customer"
    assert refused.json()["detail"] == "/order/customer: 7 is not of type 'string'"
    assert rig.http.get("/calls/refused").status_code == 404
    assert rig.post("/calls/shop/add", {"a": 1, "c": 2}).json()["field"] == "/c"
    assert rig.post("/calls/shop/add", [1, 2, 3]).json()["field"] == "/2"
    assert rig.post("/calls/shop/add").json()["detail"] == "the argument 'a' is missing"
    path = "/schedules/refused?cron=0+3+*+*+*&group=shop&function=add"
    assert rig.http.put(path, json=["x"]).json()["field"] == "/a"


def test_changed_code_is_noticed_when_it_refuses(rig: Rig) -> None:
    """A function that takes more than it did is called so at once."""
    assert rig.post("/calls/shop/add?wait=30s", [1]).status_code == 200
    newer = NODE.replace("def add(ctx: Context, a: int", "def add(ctx: Context, a: int | str")
    rig.system.run("newer", newer.replace('Runtime("shop")', 'Runtime("shop", id="newer")'))
    eventually("it has joined", lambda: "newer" in rig.system.nodes("shop"))
    assert eventually("its schema counts", lambda: rig.post("/calls/shop/add", ["x"]).is_success)
