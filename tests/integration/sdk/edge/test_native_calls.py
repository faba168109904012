"""Calls over HTTP: started, waited for, read, listed, canceled; and what is wrong with some."""

from __future__ import annotations

import time

import pytest

from tests.integration.sdk.edge.rig import Rig, eventually


def test_a_call_that_is_waited_for(rig: Rig) -> None:
    answer = rig.post("/calls/shop/add?wait=30s&id=sum-1", {"a": 1, "b": 5})
    assert answer.status_code == 200
    assert answer.headers["location"] == "/calls/sum-1"
    call = answer.json()
    assert (call["id"], call["state"], call["function"]) == ("sum-1", "resolved", "add")
    assert call["value"]["data"] == 6
    assert call["param"]["data"] == [[], {"a": 1, "b": 5}]
    assert rig.http.get("/calls/sum-1/result").json() == 6
    assert rig.system.runtime.get("sum-1").result(timeout=10) == 6


def test_arguments_by_position_and_none(rig: Rig) -> None:
    assert rig.post("/calls/shop/add?wait=30s", [4]).json()["value"]["data"] == 6
    assert rig.post("/calls/shop/raw?wait=30s").json()["param"]["data"] == [[], {}]


def test_a_call_that_is_not_waited_for(rig: Rig) -> None:
    answer = rig.post("/calls/shop/approve?tag=order=7&priority=3&timeout=1h")
    assert answer.status_code == 202
    call = answer.json()
    assert call["state"] == "pending"
    assert len(call["id"]) == 32
    assert answer.headers["location"] == f"/calls/{call['id']}"
    assert call["tags"]["order"] == "7"
    assert abs(call["timeout_at"] - call["created_at"] - 3_600_000) < 1000
    shown = rig.http.get(answer.headers["location"]).json()
    assert shown["task"]["target"] == "poll://any@shop"
    waited = rig.http.get(f"{answer.headers['location']}/result?wait=200ms")
    assert waited.status_code == 202
    assert waited.headers["location"] == f"/calls/{call['id']}/result"
    answered = f"/promises/{call['id']}.answer/resolve"
    eventually("it asks", lambda: rig.post(answered, "yes").status_code == 200)
    result = rig.http.get(f"{answer.headers['location']}/result?wait=30s")
    assert (result.status_code, result.json()) == (200, {"answer": "yes"})


def test_the_same_key_is_the_same_call(rig: Rig) -> None:
    headers = {"Idempotency-Key": '"k 1/ü"'.encode()}
    first = rig.post("/calls/shop/add?wait=30s", [1], headers=headers)
    again = rig.post("/calls/shop/add?wait=30s", [1], headers=headers)
    assert first.json()["id"] == "shop/add/k 1/ü"
    assert first.json() == again.json()
    assert first.headers["location"] == "/calls/shop%2Fadd%2Fk%201%2F%C3%BC"
    assert rig.http.get(first.headers["location"]).json() == first.json()


def test_a_key_for_other_arguments(rig: Rig) -> None:
    headers = {"Idempotency-Key": "k2"}
    rig.post("/calls/shop/add?wait=30s", [1], headers=headers)
    refused = rig.post("/calls/shop/add", [2], headers=headers)
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["detail"] == (
        "shop/add/k2 already exists, with the arguments [[1], {}]. Those are kept. Use a new id "
        "for a new call"
    )
    assert problem["stored"]["value"]["data"] == 3


def test_an_id_of_another_function(rig: Rig) -> None:
    rig.post("/calls/shop/add?wait=30s&id=taken", [1])
    refused = rig.post("/calls/shop/echo?id=taken", [1])
    assert refused.status_code == 409
    assert refused.json()["detail"].startswith(
        "the id 'taken' belongs to a call of 'add', so 'echo' cannot be called under it"
    )
    for path in ("/calls/others/add?id=taken&unknown=wait", "/calls/shop/add?id=taken&version=1"):
        assert rig.post(path, [1]).status_code == 409


def test_a_conflict_is_told_at_once(rig: Rig) -> None:
    """Not after the wait for a call that is not the one."""
    rig.post("/calls/shop/approve?id=waits")
    began = time.monotonic()
    assert rig.post("/calls/shop/echo?id=waits&wait=60s", [1]).status_code == 409
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("id_", ["a/b", "100%", "ü – 漢", "a b", "a?b#c", "x+y", "..a", "%2F", "é"])
def test_ids_of_all_kinds_in_paths(rig: Rig, id_: str) -> None:
    started = rig.http.post("/calls/shop/add", params={"id": id_, "wait": "30s"}, json=[3])
    assert started.status_code == 200
    read = rig.http.get(started.headers["location"])
    assert read.json()["id"] == id_
    assert rig.http.get(f"{started.headers['location']}/result").json() == 5


def test_values_without_a_form_in_json(rig: Rig) -> None:
    started = rig.post("/calls/shop/raw?wait=30s")
    assert started.json()["value"]["data"] == {
        "bytes": "YWI=",
        "set": [1, 2],
        "big": 10**30,
        "when": "2026-01-02T00:00:00",
        "3": "three",
    }


def test_a_large_integer_travels(rig: Rig) -> None:
    answer = rig.post("/calls/shop/echo?wait=30s", [10**40])
    assert answer.json()["value"]["data"] == 10**40


def test_a_call_that_fails(rig: Rig) -> None:
    answer = rig.post("/calls/shop/fail?wait=30s&id=failing", ["no stock"])
    assert answer.status_code == 200
    assert answer.json()["state"] == "rejected"
    assert answer.json()["error"]["type"] == "ValueError"
    result = rig.http.get("/calls/failing/result")
    assert result.status_code == 409
    problem = result.json()
    assert problem["detail"] == "failing failed: ValueError: no stock"
    assert (problem["state"], problem["error"]["message"]) == ("rejected", "no stock")


def test_an_unknown_function_and_an_unknown_group(rig: Rig) -> None:
    refused = rig.post("/calls/shop/aprove")
    assert refused.status_code == 404
    assert "no node of group shop has the function aprove; similar: approve" in refused.text
    version = rig.post("/calls/shop/approve?version=7")
    assert (version.status_code, version.json()["parameter"]) == (404, "version")
    assert "has the function approve (version 7), only other versions of it" in version.text
    assert rig.post("/calls/shop/aprove?unknown=wait").status_code == 202
    waiting = rig.post("/calls/nobody/anything")
    assert waiting.status_code == 202
    shown = rig.http.get(waiting.headers["location"]).json()
    assert shown["trouble"].startswith("nothing serves group nobody yet")


def test_what_does_not_exist(rig: Rig) -> None:
    for path in ("", "/result", "/result?wait=1s", "/tree", "/events", "/tree/events"):
        answer = rig.http.get(f"/calls/absent{path}")
        assert answer.status_code == 404, path
        assert answer.json()["detail"] == "promise 'absent' does not exist"
    assert rig.post("/calls/absent/cancel").status_code == 404


def test_lists_in_pages(rig: Rig) -> None:
    ids = [f"list-{number}" for number in range(5)]
    for id_ in ids:
        rig.post(f"/calls/shop/add?wait=30s&id={id_}&tag=list=1", [1])
    rig.post("/calls/shop/echo?wait=30s&id=list-echo&tag=list=1", [1])
    rig.http.put("/promises/list-promise?tag=list=1")
    found = []
    cursor = None
    while True:
        parameters = {"prefix": "list-", "limit": "2", "function": "add", "group": "shop"}
        page = rig.http.get("/calls", params=parameters | ({"cursor": cursor} if cursor else {}))
        assert page.status_code == 200
        found += [call["id"] for call in page.json()["items"]]
        cursor = page.json()["cursor"]
        if cursor is None:
            break
    assert found == ids
    tagged = rig.http.get("/promises?tag=list=1&state=pending").json()
    assert [each["id"] for each in tagged["items"]] == ["list-promise"]
    assert rig.http.get("/calls?prefix=list-&group=other").json()["items"] == []


def test_a_call_graph(rig: Rig) -> None:
    rig.post("/calls/shop/fan_out?id=graph", [2])
    eventually("it asks", lambda: rig.post("/promises/graph.more/resolve", 7).status_code == 200)
    assert rig.http.get("/calls/graph/result?wait=30s").json() == 14
    tree = rig.http.get("/calls/graph/tree").json()
    assert tree["state"] == "resolved"
    assert [child["function"] for child in tree["children"]] == ["add", "add", "promise", "add"]


def test_a_call_that_is_canceled(rig: Rig) -> None:
    rig.post("/calls/shop/approve?id=unwanted")
    canceled = rig.post("/calls/unwanted/cancel")
    assert canceled.json()["state"] == "canceled"
    assert rig.post("/calls/unwanted/cancel").status_code == 200
    rig.post("/calls/shop/add?wait=30s&id=over", [1])
    refused = rig.post("/calls/over/cancel")
    assert refused.status_code == 409
    assert refused.json()["detail"] == "over was already resolved, and does not change"


def test_methods(rig: Rig) -> None:
    rig.post("/calls/shop/add?wait=30s&id=methods", [1])
    head = rig.http.head("/calls/methods/result")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "2")
    refused = rig.http.request("PATCH", "/calls/methods")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert rig.http.options("/calls/methods").status_code == 204
    for path in ("/nowhere", "/calls/a/b/c/d", "/"):
        answer = rig.http.get(path)
        assert (answer.status_code, answer.json()["status"]) == (404, 404)


def test_a_request_passes_its_trace_on_and_another_trace_is_no_other_call(rig: Rig) -> None:
    first = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for traceparent in (first, first.replace("b7ad", "c7ad")):
        headers = {"Idempotency-Key": "traced", "traceparent": traceparent}
        answer = rig.post("/calls/shop/add?wait=30s", {"a": 1, "b": 5}, headers=headers)
        assert (answer.status_code, answer.json()["value"]["data"]) == (200, 6)
        assert answer.json()["param"]["headers"]["traceparent"] == first


def test_a_malformed_trace_is_left_out(rig: Rig) -> None:
    answer = rig.post("/calls/shop/add?wait=30s", [4], headers={"traceparent": "00-nonsense-01"})
    assert answer.status_code == 200
    assert "traceparent" not in answer.json()["param"]["headers"]
