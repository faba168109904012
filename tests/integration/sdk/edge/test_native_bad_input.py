"""Requests that are wrong, hostile or unusual: each gets an answer that says so."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest

from tests.integration.sdk.edge.rig import Rig, read_all, read_until, statuses

HEAD = (
    b"POST /calls/shop/echo?wait=30s HTTP/1.1\r\nHost: localhost\r\n"
    b"content-type: application/json\r\n"
)


def problem(rig: Rig, path: str, content: bytes, **headers: str) -> tuple[int, str]:
    """Send a body; return the status and the text of the problem."""
    sent = {"content-type": "application/json"} | headers
    answer = rig.http.post(path, content=content, headers=sent)
    assert answer.headers["content-type"] == "application/problem+json"
    data = answer.json()
    assert data["status"] == answer.status_code
    return answer.status_code, data["detail"]


@pytest.mark.parametrize(
    "content",
    [b"{", b"nonsense", b'{"a":1}x', b"NaN", b'"\\ud800"', b"\xff\xfe", b"[1e999]", b"'a'", b" "],
)
def test_a_body_that_is_no_json(rig: Rig, content: bytes) -> None:
    status, detail = problem(rig, "/calls/shop/echo", content)
    assert status == 400
    assert detail.startswith("the body is no JSON: ")


@pytest.mark.parametrize("content", [b"7", b'"text"', b"null", b"true"])
def test_arguments_that_are_none(rig: Rig, content: bytes) -> None:
    status, detail = problem(rig, "/calls/shop/echo", content)
    assert status == 422
    assert detail.startswith("the body has the arguments of the call: an object gives them by name")


@pytest.mark.parametrize("depth", [66, 5_000, 1_000_000])
def test_a_body_that_is_too_deep(rig: Rig, depth: int) -> None:
    status, detail = problem(rig, "/calls/shop/echo", b"[" * depth + b"]" * depth)
    assert (status, detail) == (400, "the body is nested deeper than 64 levels")
    mixed = b'{"a":[' * (depth // 2) + b"]}" * (depth // 2)
    assert problem(rig, "/calls/shop/echo", b'{"value":%s}' % mixed)[0] == 400


def test_a_body_that_is_deep(rig: Rig) -> None:
    answer = rig.http.post(
        "/calls/shop/echo?wait=30s",
        content=b"[" * 60 + b"]" * 60,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 200


def test_a_body_that_is_too_large(rig: Rig) -> None:
    status, detail = problem(rig, "/calls/shop/echo", b'["%s"]' % (b"x" * 7_000_000))
    assert (status, detail) == (413, "a body may have 6,291,456 bytes")
    # What is no larger than a body may be, but more than a broker stores:
    status, detail = problem(rig, "/calls/shop/echo", b'["%s"]' % (b"x" * 5_000_000))
    assert status == 413
    assert "at most" in detail or "4" in detail


def test_a_body_that_says_it_is_enormous(rig: Rig) -> None:
    answer = rig.exchange(HEAD + b"content-length: 99999999999\r\n\r\n[1")
    assert statuses(answer) == [413]
    assert b"connection: close" in answer


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"]
)
def test_the_wrong_media_type(rig: Rig, kind: str) -> None:
    status, detail = problem(rig, "/calls/shop/echo", b"[1]", **{"content-type": kind})
    assert status == 415
    assert detail.startswith(f"the content type is {kind}: send JSON")


def test_media_types_that_are_json(rig: Rig) -> None:
    for kind in ("application/json;charset=UTF-8", "application/vnd.shop+json", "APPLICATION/JSON"):
        answer = rig.http.post(
            "/calls/shop/echo?wait=30s", content=b"[1]", headers={"content-type": kind}
        )
        assert answer.status_code == 200
    assert rig.http.post("/calls/shop/echo", content=b"[1]").status_code == 415


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("wiat=30s", "wiat"),
        ("wait=soon", "wait"),
        ("wait=-1", "wait"),
        ("wait=1_0", "wait"),
        ("wait=nan", "wait"),
        ("wait=1&wait=2", "wait"),
        ("timeout=0", "timeout"),
        ("timeout=1e300d", "timeout"),
        ("version=0", "version"),
        ("version=1.5", "version"),
        ("version=99999999999999999999999999", "version"),
        ("priority=101", "priority"),
        ("tag=order", "tag"),
        ("tag=understudy:target=other", "tag"),
        ("id=", "id"),
        (f"id={'x' * 600}", "id"),
        ("unknown=maybe", "unknown"),
    ],
)
def test_parameters_that_are_wrong(rig: Rig, query: str, parameter: str) -> None:
    answer = rig.http.post(f"/calls/shop/echo?{query}", json=[1])
    assert (answer.status_code, answer.json()["parameter"]) == (400, parameter)


def test_queries_that_are_wrong(rig: Rig) -> None:
    assert rig.http.get("/calls?limit=0").json()["parameter"] == "limit"
    assert rig.http.get("/calls?limit=1001").json()["parameter"] == "limit"
    wrong = rig.http.get("/promises?state=done").json()
    assert wrong["detail"] == (
        "state='done': it must be one of pending, resolved, rejected, canceled, timedout"
    )
    assert rig.http.get("/calls?prefix=%ff").json()["detail"] == "the query is no UTF-8"
    many = "&".join(f"tag=a{number}=1" for number in range(300))
    assert rig.http.get(f"/calls?{many}").status_code == 400


def test_keys_and_ids_that_are_wrong(rig: Rig) -> None:
    twice = [("Idempotency-Key", "k"), ("Idempotency-Key", "l")]
    assert rig.http.post("/calls/shop/echo", json=[1], headers=twice).status_code == 400
    for key in (b"", b'""', b"\xff"):
        answer = rig.http.post("/calls/shop/echo", json=[1], headers={b"Idempotency-Key": key})
        assert answer.json()["header"] == "idempotency-key", key
    group = rig.post("/calls/a%20b/echo", [1])
    assert (group.status_code, group.json()["parameter"]) == (400, "group")
    assert rig.http.get("/calls/%ff").json()["detail"] == "the id in the path is no UTF-8"
    assert rig.http.get("/calls/%00").status_code in (400, 404)
    assert rig.post("/calls/shop/echo?id=a%00b", [1]).status_code == 400
    assert rig.post("/calls/shop/", [1]).status_code == 400
    assert rig.http.get(f"/calls/{'x' * 5000}").status_code in (400, 404)


def test_http_1_0(rig: Rig) -> None:
    rig.post("/calls/shop/add?id=old&wait=30s", [1])
    answer = rig.exchange(b"GET /calls/old/result HTTP/1.0\r\n\r\n")
    assert statuses(answer) == [200]
    assert answer.endswith(b"\r\n\r\n3\n")
    stream = rig.exchange(b"GET /calls/old/events HTTP/1.0\r\n\r\n")
    assert b"chunked" not in stream
    assert b"event: end" in stream


def test_pipelined_requests(rig: Rig) -> None:
    bodies = [b"[1]", b"[2]", b"[3]"]
    requests = [HEAD + b"content-length: 3\r\n\r\n" + body for body in bodies]
    last = b"GET /groups HTTP/1.1\r\nHost: localhost\r\nconnection: close\r\n\r\n"
    answers = rig.exchange(b"".join(requests) + last)
    assert statuses(answers) == [200, 200, 200, 200]
    places = [answers.index(b'"data":%d}' % number) for number in (1, 2, 3)]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "headers",
    [
        b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\n",
        b"content-length: 3\r\ncontent-length: 4\r\n\r\n[1]",
        b"content-length: +3\r\n\r\n[1]",
        b"content-length: 3, 4\r\n\r\n[1]",
        b"transfer-encoding: gzip, chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\n",
        b"transfer-encoding : chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\n",
        b"x: a\rb\r\ncontent-length: 3\r\n\r\n[1]",
        b"x: a\x00b\r\ncontent-length: 3\r\n\r\n[1]",
        b"x y: a\r\ncontent-length: 3\r\n\r\n[1]",
    ],
)
def test_smuggled_headers(rig: Rig, headers: bytes) -> None:
    """Where two readers may see two requests, the first ends the connection."""
    smuggled = b"POST /promises/smuggled/resolve HTTP/1.1\r\nHost: localhost\r\n\r\n"
    rig.http.put("/promises/smuggled")
    answer = rig.exchange(HEAD + headers + smuggled + b"\r\n")
    assert [status for status in statuses(answer) if status < 400] == []
    assert len(statuses(answer)) <= 1
    assert rig.http.get("/promises/smuggled").json()["state"] == "pending"


@pytest.mark.parametrize(
    "data",
    [
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET /calls HTTP/1.1\r\n\r\n",
        b"GET http://other/calls/x HTTP/1.1\r\nHost: other\r\n\r\n",
        b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /calls HTTP/1.1\r\nHost: localhost\r\n" + b"x: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET /caf\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_requests_that_are_none(rig: Rig, data: bytes) -> None:
    with rig.connect() as connection:
        answer = b""
        with suppress(OSError):  # it may close while there is more to read
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(65536)
    assert all(400 <= status < 500 for status in statuses(answer))


def test_a_client_that_hangs_up_in_its_body(rig: Rig) -> None:
    with rig.connect() as connection:
        connection.sendall(HEAD + b"content-length: 100\r\n\r\n[1")
    with rig.connect() as connection:
        connection.sendall(HEAD + b"content-length: 3\r\n\r\n[1]")
    assert rig.post("/calls/shop/echo?wait=30s", [1]).status_code == 200
    assert "Traceback" not in rig.edge.output


def test_a_page_of_another_site(rig: Rig) -> None:
    rig.post("/calls/shop/approve?id=site")
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200)):
        headers = {"Sec-Fetch-Site": site}
        assert rig.http.get("/calls/site", headers=headers).status_code == 200
        assert rig.post("/calls/site/cancel", headers=headers).status_code == status


def test_a_client_that_asks_before_it_sends_its_body(rig: Rig) -> None:
    head = HEAD + b"expect: 100-continue\r\nconnection: close\r\ncontent-length: 3\r\n\r\n"
    with rig.connect() as connection:
        connection.sendall(head)
        assert read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"[1]")
        assert statuses(read_all(connection)) == [200]


def test_a_websocket(rig: Rig) -> None:
    answer = rig.exchange(
        b"GET /calls/x HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert statuses(answer) == [403]
