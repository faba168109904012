"""Event streams and long waits: what they tell, who they end for, and their bounds."""

from __future__ import annotations

import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.system import until
from tests.integration.sdk.edge.rig import (
    Rig,
    client_of,
    events_in,
    eventually,
    open_rig,
    read_until,
    start_edge,
)


def stream_of(rig: Rig, path: str, **headers: str) -> list[tuple[str, int | None, Any]]:
    """Return all events of a stream that ends."""
    answer = rig.http.get(path, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    return events_in(answer.text)


def test_events_of_a_call(rig: Rig) -> None:
    rig.post("/calls/shop/approve?id=told")
    with rig.http.stream("GET", "/calls/told/events") as answer:
        text = answer.iter_text()
        got = next(text)
        while "pending" not in got:
            got += next(text)
        eventually(
            "it asks", lambda: rig.post("/promises/told.answer/resolve", 7).status_code == 200
        )
        got += "".join(text)
    events = events_in(got)
    assert [(name, data["state"]) for name, _, data in events] == [
        ("promise", "pending"),
        ("promise", "resolved"),
        ("end", "resolved"),
    ]
    assert events[1][2]["value"]["data"] == {"answer": 7}


def test_a_client_that_comes_back(rig: Rig, tmp_path: Path) -> None:
    rig.post("/calls/shop/add?id=again&wait=30s", [1])
    events = stream_of(rig, "/calls/again/events")
    assert [name for name, _, _ in events] == ["promise", "end"]
    # It may have missed the end, so it gets everything again; but not after the end. Any edge
    # understands its id.
    _, port = start_edge(rig.system)
    with client_of(port) as other:
        until("the other edge is ready", lambda: other.get("/ready").status_code == 200)
        first = other.get("/calls/again/events", headers={"Last-Event-ID": str(events[0][1])})
        assert events_in(first.text) == events
        last = other.get("/calls/again/events", headers={"Last-Event-ID": str(events[1][1])})
        assert last.status_code == 204
    assert stream_of(rig, "/calls/again/events", **{"Last-Event-ID": "nonsense"}) == events


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Rig]:
    """An edge that lets one request wait, and one stream be open."""
    with open_rig(tmp_path, waiting_max=1, streams_max=1) as rig:
        yield rig


def test_a_wait_ends_when_its_client_hangs_up(small: Rig) -> None:
    small.post("/calls/shop/approve?id=long")
    request = b"GET /calls/long/result?wait=60s HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with small.connect() as connection:
        connection.sendall(request)

        def refused_beside() -> httpx.Response | None:
            """A short wait finds no room once the long one has begun; or the long one did not."""
            if select.select([connection], [], [], 0)[0]:
                assert b" 503 " in connection.recv(65_536)
                connection.sendall(request)
            return _refused(small, "/calls/long/result?wait=1ms")

        refused = eventually("it waits", refused_beside)
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["detail"].startswith("1 requests wait at this edge, as many as may")
        assert small.post("/calls/shop/add?id=unstored&wait=1s", [1]).status_code == 503
        assert small.http.get("/calls/unstored").status_code == 404
    eventually("there is room", lambda: not _refused(small, "/calls/long/result?wait=1ms"))
    assert small.post("/calls/shop/add?wait=30s", [1]).status_code == 200


def test_a_stream_ends_when_its_client_hangs_up(small: Rig) -> None:
    small.post("/calls/shop/approve?id=long")
    small.post("/calls/shop/add?id=over&wait=30s", [1])
    with small.connect() as connection:
        connection.sendall(b"GET /calls/long/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        read_until(connection, b"pending")
        assert _refused(small, "/calls/over/events")
    eventually("there is room", lambda: not _refused(small, "/calls/over/events"))


def _refused(rig: Rig, path: str) -> httpx.Response | None:
    answer = rig.http.get(path)
    return answer if answer.status_code == 503 else None


def test_the_end_of_an_edge_ends_waits_and_streams(tmp_path: Path) -> None:
    with open_rig(tmp_path) as rig:
        rig.post("/calls/shop/approve?id=long")
        answers: dict[str, int] = {}

        def wait() -> None:
            with client_of(rig.port) as http:
                answers["wait"] = http.get("/calls/long/result?wait=60s").status_code

        waiting = threading.Thread(target=wait)
        with rig.connect() as stream:
            stream.sendall(b"GET /calls/long/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            read_until(stream, b"pending")
            waiting.start()
            # The wait is watched by the broker as well, once it has begun.
            started = rig.post("/calls/shop/approve?id=other&wait=1s")
            assert started.status_code == 202
            rig.edge.send_signal(signal.SIGTERM)
            assert read_until(stream, b"0\r\n\r\n").endswith(b"0\r\n\r\n")
        waiting.join(timeout=10)
        assert answers == {"wait": 202}


def test_events_of_a_call_graph(rig: Rig) -> None:
    rig.post("/calls/shop/fan_out?id=fan", [3])
    with rig.http.stream("GET", "/calls/fan/tree/events") as answer:
        text = answer.iter_text()
        got = next(text)
        while '"fan.more"' not in got:
            got += next(text)
        assert rig.post("/promises/fan.more/resolve", 4).status_code == 200
        got += "".join(text)
    events = events_in(got)
    assert [name for name, _, _ in events[-1:]] == ["end"]
    told = {data["id"]: data for name, _, data in events if name == "promise"}
    assert {data["state"] for data in told.values()} == {"resolved"}
    assert sorted(told) == ["fan", "fan.1", "fan.2", "fan.3", "fan.5", "fan.more"]
    assert told["fan.5"]["parent"] == "fan"
    assert (told["fan.more"]["role"], told["fan"]["parent"]) == ("promise", None)
    # The latest state of each is told once, and never an older one after it.
    assert [data["state"] for _, _, data in events if data["id"] == "fan.more"] == [
        "pending",
        "resolved",
    ]
    ids = [id_ or 0 for _, id_, _ in events]
    assert ids == sorted(ids)
    last = rig.http.get("/calls/fan/tree/events", headers={"Last-Event-ID": str(ids[-1])})
    assert last.status_code == 204
    again = rig.http.get("/calls/fan/tree/events", headers={"Last-Event-ID": str(ids[-2])})
    assert {data["id"] for _, _, data in events_in(again.text)} == set(told)
