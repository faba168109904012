"""Bytes that are no request: they end their own connection, and nothing else."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import Final

import httpx
import pytest

from tests.acceptance.system import Program
from tests.integration.sdk.edge.rig import Rig, start_edge, statuses


def _frame(kind: int, flags: int, stream: int, data: bytes) -> bytes:
    """A frame of HTTP/2."""
    head = struct.pack(">I", len(data))[1:] + bytes([kind, flags])
    return head + struct.pack(">I", stream) + data


_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"")
_METHOD: Final = b"\x00\x07:method\x02\xff\xfe\x86\x84\x41\x01x"
_UPGRADE: Final = (
    b"GET /tunnel HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n\r\n"
)
_HOSTILE: Final = {
    "priorities of 1,100 streams": _PREFACE
    + b"".join(_frame(2, 0, 2 * n + 1, struct.pack(">IB", 0, 15)) for n in range(1_100)),
    "resets": _PREFACE
    + b"".join(
        _frame(1, 5, 2 * n + 1, b"\x82\x86\x84\x41\x01x") + _frame(3, 0, 2 * n + 1, bytes(4))
        for n in range(500)
    ),
    "a method that is no text": _PREFACE + _frame(1, 5, 1, _METHOD),
    "a subprotocol that is no text": _UPGRADE % b"Sec-WebSocket-Protocol: \xff\xff",
    "an extension with a parameter that is no number": _UPGRADE
    % b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=abc",
    "frames that are none": _UPGRADE % b"X: y" + b"\xff" * 40,
    "noise": bytes(range(256)) * 20,
}


@pytest.fixture(scope="module")
def edge(rig: Rig) -> tuple[Program, int]:
    return start_edge(rig.system)


def exchange(port: int, data: bytes) -> bytes:
    """Send, and return what is answered until the other side ends the connection or is silent."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection, suppress(OSError):
        connection.sendall(data)
        while part := connection.recv(65_536):
            got += part
    return got


@pytest.mark.parametrize("data", _HOSTILE.values(), ids=_HOSTILE.keys())
def test_an_edge_outlives_them(edge: tuple[Program, int], data: bytes) -> None:
    """Each of these ended the process, with all connections of others."""
    _, port = edge
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as other:
        assert other.get("/health").status_code == 200
        exchange(port, data)
        assert other.get("/health").status_code == 200, "on the same connection"


def test_http_2_is_not_spoken(edge: tuple[Program, int]) -> None:
    _, port = edge
    assert statuses(exchange(port, _PREFACE))[:1] == [505]
    upgrade = (
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    )
    assert statuses(exchange(port, upgrade)) == [200]


@pytest.mark.parametrize("path", [b"/", b"/health", b"/calls/shop/order"])
def test_a_length_and_chunks_are_refused_for_every_path(
    edge: tuple[Program, int], path: bytes
) -> None:
    smuggled = b"0\r\n\r\nGET /groups HTTP/1.1\r\nHost: localhost\r\n\r\n"
    data = (
        b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" % len(smuggled)
    )
    assert statuses(exchange(edge[1], data + smuggled)) == [400]


def test_websockets_are_not_compressed(edge: tuple[Program, int]) -> None:
    data = _UPGRADE.replace(b"/tunnel", b"/tunnel?broker=tcp://127.0.0.1:1")
    got = exchange(edge[1], data % b"Sec-WebSocket-Extensions: permessage-deflate")
    assert b"permessage-deflate" not in got.lower()


@pytest.mark.parametrize("header", [{}, {"Origin": "http://evil.example:8001"}])
def test_a_name_that_leads_here_is_not_that_of_the_edge(
    edge: tuple[Program, int], header: dict[str, str]
) -> None:
    """As a site does it that has its own name lead to this machine."""
    url = f"http://127.0.0.1:{edge[1]}"
    headers = {"Host": "evil.example:8001", "Sec-Fetch-Site": "same-origin", **header}
    with httpx.Client(base_url=url, trust_env=False, headers=headers) as client:
        for path in ("/groups", "/openapi.json", "/poll/shop/a"):
            answer = client.get(path)
            assert answer.status_code == 421
            assert "--names" in answer.json()["detail"]
        assert client.post("/calls/shop/order", json=[]).status_code == 421
    got = exchange(edge[1], (_UPGRADE % b"X: y").replace(b"localhost", b"evil.example"))
    assert statuses(got) == [403]


def test_names_that_an_edge_was_given(rig: Rig) -> None:
    _, port = start_edge(rig.system, names=("edge.example",))
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, trust_env=False) as client:
        for name, status in (("edge.example", 200), ("EDGE.example:443", 200), ("other", 421)):
            assert client.get("/health", headers={"Host": name}).status_code == status
