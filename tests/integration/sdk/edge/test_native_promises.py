"""Promises, schedules and groups over HTTP."""

from __future__ import annotations

from tests.integration.sdk.edge.rig import Rig


def test_a_promise_is_created_once(rig: Rig) -> None:
    created = rig.http.put("/promises/approval-1?timeout=1h&tag=order=7", json={"amount": 120})
    assert created.status_code == 201
    assert created.headers["location"] == "/promises/approval-1"
    assert created.json()["param"]["data"] == {"amount": 120}
    again = rig.http.put("/promises/approval-1?timeout=1h&tag=order=7", json={"amount": 120})
    assert (again.status_code, again.json()) == (200, created.json())
    other = rig.http.put("/promises/approval-1", json={"amount": 130})
    assert other.status_code == 409
    assert other.json()["stored"]["param"]["data"] == {"amount": 120}
    assert rig.http.get("/promises/approval-1").json() == created.json()


def test_a_promise_is_settled_once(rig: Rig) -> None:
    rig.http.put("/promises/approval-2")
    assert rig.http.get("/promises/approval-2/result").status_code == 202
    resolved = rig.post("/promises/approval-2/resolve", {"by": "ann"})
    assert (resolved.status_code, resolved.json()["state"]) == (200, "resolved")
    assert rig.post("/promises/approval-2/resolve", {"by": "ann"}).status_code == 200
    other = rig.post("/promises/approval-2/resolve", {"by": "bob"})
    assert other.status_code == 409
    assert other.json()["detail"] == (
        "approval-2 was already resolved with another value, and does not change"
    )
    assert rig.post("/promises/approval-2/reject").status_code == 409
    assert rig.http.get("/promises/approval-2/result").json() == {"by": "ann"}
    assert rig.system.runtime.promises.get("approval-2").value() == {"by": "ann"}


def test_a_promise_is_rejected(rig: Rig) -> None:
    for number, body in enumerate(["too expensive", {"message": "too expensive"}]):
        rig.http.put(f"/promises/rejected-{number}")
        assert rig.post(f"/promises/rejected-{number}/reject", body).json()["error"]["message"] == (
            "too expensive"
        )
    rig.http.put("/promises/rejected-2")
    assert rig.post("/promises/rejected-2/reject").json()["error"]["message"] == "rejected"
    assert rig.post("/promises/rejected-2/reject", {"reason": "x"}).status_code == 422
    assert rig.post("/promises/rejected-2/reject", 7).status_code == 422
    assert rig.post("/promises/absent/resolve", 7).status_code == 404


def test_a_value_that_is_null(rig: Rig) -> None:
    rig.http.put("/promises/empty")
    assert rig.post("/promises/empty/resolve").json()["state"] == "resolved"
    result = rig.http.get("/promises/empty/result")
    assert (result.status_code, result.json()) == (200, None)


def test_a_call_is_no_promise_of_that_id(rig: Rig) -> None:
    rig.post("/calls/shop/add?wait=30s&id=is-call", [1])
    refused = rig.http.put("/promises/is-call")
    assert refused.status_code == 409
    assert "belongs to a call of 'add'" in refused.json()["detail"]


def test_schedules(rig: Rig) -> None:
    path = "/schedules/nightly?cron=0+3+*+*+*&group=shop&function=add"
    created = rig.http.put(path, json=[1])
    assert created.status_code == 201
    assert created.headers["location"] == "/schedules/nightly"
    schedule = created.json()
    assert (schedule["cron"], schedule["function"]) == ("0 3 * * *", "add")
    assert schedule["promise_param"]["data"] == [[1], {}]
    assert rig.http.put(path, json=[1]).json() == schedule
    differs = rig.http.put(path, json=[2])
    assert differs.status_code == 409
    assert "other arguments: [[1], {}] are stored" in differs.json()["detail"]
    assert rig.http.put(path.replace("0+3", "0+4"), json=[1]).status_code == 409
    assert rig.http.get("/schedules/nightly").json() == schedule
    assert rig.http.get("/schedules?prefix=night").json() == {"items": [schedule], "cursor": None}
    zone = "&zone=Europe%2FVienna&overlap=skip&catch_up=2h&replace=true"
    replaced = rig.http.put(path + zone, json=[2])
    assert (replaced.status_code, replaced.json()["zone"]) == (200, "Europe/Vienna")
    patched = rig.http.patch("/schedules/nightly?jitter=30s&timeout=9").json()
    assert (patched["jitter"], patched["promise_timeout"], patched["catch_up"]) == (
        30_000,
        9_000,
        7_200_000,
    )
    assert len(rig.http.get("/schedules/nightly/next?count=3").json()["times"]) == 3
    assert (
        rig.http.post("/schedules/nightly/pause?reason=a+move").json()["pause_reason"] == "a move"
    )
    called = rig.http.post("/schedules/nightly/trigger")
    assert called.status_code == 201
    assert rig.http.get(called.headers["location"]).json()["function"] == "add"
    assert rig.http.post("/schedules/nightly/resume").json()["paused_at"] is None
    assert rig.http.patch("/schedules/nightly?zone=Mars").status_code == 400
    assert rig.http.post("/schedules/none/trigger").status_code == 404
    assert rig.http.delete("/schedules/nightly").status_code == 204
    assert rig.http.delete("/schedules/nightly").status_code == 404
    assert rig.http.get("/schedules/nightly").json()["detail"] == (
        "schedule 'nightly' does not exist"
    )


def test_schedules_that_make_no_sense(rig: Rig) -> None:
    missing = rig.http.put("/schedules/bad?group=shop&function=add")
    assert (missing.status_code, missing.json()["parameter"]) == (400, "cron")
    wrong = rig.http.put("/schedules/bad?cron=often&group=shop&function=add", json=[1])
    assert wrong.status_code == 400
    assert wrong.json()["detail"].startswith("cron line 'often'")
    unknown = rig.http.put("/schedules/bad?cron=0+3+*+*+*&group=shop&function=ad")
    assert unknown.status_code == 404
    assert "similar: add" in unknown.json()["detail"]


def test_groups(rig: Rig) -> None:
    groups = {group["name"]: group for group in rig.http.get("/groups").json()["groups"]}
    [node] = groups["shop"]["nodes"]
    assert "fan_out" in node["functions"]


def test_a_group_is_paused_and_goes_on(rig: Rig) -> None:
    answer = rig.http.post("/groups/shop/pause?function=add&reason=why%20not")
    assert answer.json() == {"group": "shop", "function": "add", "paused": True}
    waiting = rig.http.post("/calls/shop/add?id=paused-1&wait=10ms", json=[1, 2])
    assert waiting.status_code == 202
    groups = {group["name"]: group for group in rig.http.get("/groups").json()["groups"]}
    [pause] = groups["shop"]["pauses"]
    assert (pause["function"], pause["reason"]) == ("add", "why not")
    answer = rig.http.post("/groups/shop/resume?function=add")
    assert answer.json() == {"group": "shop", "function": "add", "paused": False}
    assert rig.http.get("/calls/paused-1/result?wait=30s").json() == 3
    assert rig.http.post("/groups/no%2Fgroup/pause").status_code == 400
