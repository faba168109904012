"""Requests over HTTP, at a real edge and a real broker."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.integration.sdk.edge.resonate.client import Client, now
from tests.integration.sdk.edge.resonate.world import World, start_edge, url_of
from understudy.edge.settings import BODY_BYTES_MAX

TARGET = {"resonate:target": "poll://any@nobody"}


def callback(awaited: str, awaiter: str) -> dict[str, Any]:
    return {"kind": "promise.register_callback", "data": {"awaited": awaited, "awaiter": awaiter}}


def test_a_life_of_a_task(client: Client) -> None:
    later = now() + 60_000
    data = {"id": "life", "timeoutAt": later, "tags": {**TARGET, "resonate:branch": "life"}}
    action = {"kind": "promise.create", "data": data}
    found = client.ok("task.create", pid="p", ttl=60_000, action=action)
    assert (found["task"]["version"], found["preload"]) == (1, [])
    held = {"id": "life", "version": 1}
    child = {"id": "life.1", "timeoutAt": later, "tags": {"resonate:branch": "life"}}
    fence = {"kind": "promise.create", "data": child}
    found = client.ok("task.fence", **held, action=fence)
    assert [each["id"] for each in found["preload"]] == ["life.1"]
    client.ok("task.heartbeat", pid="p", tasks=[held])
    assert client.ok("task.suspend", **held, actions=[callback("life.1", "life")]) == {}
    client.settle("life.1")
    assert client.ok("task.get", id="life")["task"]["resumes"] == 1
    found = client.acquire(held)
    assert [each["state"] for each in found["preload"]] == ["resolved"]
    held["version"] = 2
    status, found = client.ask("task.suspend", **held, actions=[callback("life.1", "life")])
    assert (status, len(found["preload"])) == (300, 1)
    assert client.ok("task.release", **held) == {}
    assert client.ok("task.halt", id="life") == client.ok("task.continue", id="life") == {}
    client.acquire(held)
    assert client.fulfill("life", 3, value={"data": "x"})["value"] == {"data": "x"}
    assert client.ok("task.get", id="life")["task"]["state"] == "fulfilled"


def test_searches_and_schedules(client: Client) -> None:
    for n in range(3):
        client.create(f"search.{n}", "nobody", tags={"n": "1", **TARGET})
    page = client.ok("promise.search", tags={"n": "1"}, limit=2)
    rest = client.ok("promise.search", tags={"n": "1"}, cursor=page["cursor"])
    assert [each["id"] for each in page["promises"] + rest["promises"]] == [
        "search.0", "search.1", "search.2",
    ]  # fmt: skip
    assert client.ok("task.search", state="pending", limit=1)["cursor"]
    made = client.ok(
        "schedule.create", id="s", cron="0 0 1 1 *", promiseId="{{.id}}.{{.timestamp}}",
        promiseTimeout=1_000, promiseTags=TARGET,
    )["schedule"]  # fmt: skip
    assert client.ok("schedule.get", id="s")["schedule"] == made
    assert client.ok("schedule.search", tags=TARGET)["schedules"] == [made]
    assert client.ok("schedule.delete", id="s") == {}


@pytest.mark.parametrize(
    ("kind", "data", "status"),
    [
        ("promise.get", {"id": "absent"}, 404),
        ("promise.get", {}, 400),
        ("promise.create", {"id": "x", "timeoutAt": 2**62, "tags": {"resonate:target": ""}}, 400),
        ("promise.register_callback", {"awaited": "free", "awaiter": "free2"}, 422),
        ("task.acquire", {"id": "free", "version": 0, "pid": "p", "ttl": 1}, 404),
        ("task.release", {"id": "held", "version": 7}, 409),
        ("unknown", {}, 400),
        ("debug.start", {}, 403),
        ("debug.reset", {}, 403),
    ],
)
def test_refusals(client: Client, kind: str, data: dict[str, Any], status: int) -> None:
    client.create("free")
    client.create("free2")
    client.create("held", "nobody")
    found, message = client.ask(kind, **data)
    assert (found, type(message)) == (status, str)


def test_paths(client: Client) -> None:
    assert client.get("/health") == (200, b"")
    assert client.get("/ready") == (200, b"")
    assert client.get("/other")[0] == 404


def test_the_older_paths_are_gone_unless_they_are_asked_for(world: World, tmp_path: Path) -> None:
    with start_edge(world.broker, tmp_path) as edge, Client(url_of(edge)) as client:
        for path in ("/tasks", "/tasks/claim"):
            for method in ("GET", "POST", "DELETE"):
                status, body = client.get(path, method)
                assert (status, "error" in json.loads(body)) == (410, True)


def test_a_body_that_is_none(client: Client) -> None:
    for body in (b"", b"{", b"\xff", b"[" * 10_000):
        status, answer = client.post(body)
        assert (status, answer["kind"], answer["head"]["status"]) == (400, "unknown", 400)


def test_a_body_that_is_too_large(client: Client) -> None:
    status, answer = client.post(b" " * (BODY_BYTES_MAX + 1))
    assert (status, answer["head"]["status"]) == (413, 413)
    assert client.get("/health")[0] == 200


def test_a_param_that_is_too_large(client: Client) -> None:
    param = {"data": "x" * (4 * 1024 * 1024 + 1)}
    assert client.ask("promise.create", id="big", timeoutAt=2**62, param=param)[0] == 400


def test_a_header_with_a_colon_in_its_name(world: World) -> None:
    where = urlsplit(world.url)
    body = b'{"kind":"promise.get","head":{"corrId":"c","version":"2026-04-01"},"data":{"id":"-"}}'
    with socket.create_connection((where.hostname, where.port), 10) as sock:
        sock.sendall(
            b"POST / HTTP/1.1\r\nhost: localhost\r\nresonate:origin: a\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(body), body)
        )
        assert sock.recv(4096).startswith(b"HTTP/1.1 404")


def test_deadlines_without_a_target_are_kept(client: Client) -> None:
    """Their newest server looks after targeted ones only, and so never wakes who waits."""
    client.create("sleeper", "nobody")
    held = client.acquire({"id": "sleeper", "version": 0})["task"]
    client.ok("promise.create", id="nap", timeoutAt=now() + 50, tags={"resonate:timer": "true"})
    status, _ = client.ask(
        "task.suspend", id="sleeper", version=held["version"], actions=[callback("nap", "sleeper")]
    )
    assert status in (200, 300)
    give_up_at = now() + 10_000
    while client.ok("task.get", id="sleeper")["task"]["state"] == "suspended":
        assert now() < give_up_at
