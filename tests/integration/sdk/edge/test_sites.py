"""What a page of another site has a browser ask is refused, in whatever protocol."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partial

import httpx
import pytest

from tests.integration.cli.programs import Forked
from tests.support import eventually, free_url
from understudy.bench.deployment import free_port

ORIGIN = {"Origin": "https://evil.example"}
CREATE = (
    b'{"kind":"promise.create","head":{"corrId":"1","version":"2026-04-01"},'
    b'"data":{"id":"%s","timeoutAt":4000000000000}}'
)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A broker with an edge that serves the older protocol, too; and where its streams are."""
    folder, url = tmp_path_factory.mktemp("sites"), free_url()
    place, poll = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    args = ("edge", "--listen", place, "--url", url, "--legacy", "--legacy-poll", poll)
    with (
        Forked("broker", "--listen", url, "--store", "memory", cwd=folder),
        Forked(*args, cwd=folder) as edge,
    ):
        edge.wait_for("understudy edge: http")
        eventually(lambda: httpx.get(f"http://{place}/ready", trust_env=False).status_code == 200)
        yield place, poll


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/", CREATE % b"stolen"),
        ("POST", "/calls/shop/order", b"[]"),
        ("POST", "/promises", b'{"id":"stolen","timeout":4000000000000}'),
        ("POST", "/hooks/github", b"{}"),
        ("GET", "/poll/shop/thief", b""),
    ],
)
def test_requests(places: tuple[str, str], method: str, path: str, body: bytes) -> None:
    url = f"http://{places[0]}"
    # A page may send this type of text without asking the server.
    headers = {"content-type": "text/plain", **ORIGIN}
    with httpx.Client(base_url=url, trust_env=False) as client:
        assert client.request(method, path, content=body, headers=headers).status_code == 403
        assert client.get("/promises/stolen").status_code == 404
        # To read is harmless: the page does not get the answer.
        assert client.get("/health", headers=headers).status_code == 200
        assert client.post("/", content=CREATE % b"own", headers={"Origin": url}).is_success


def test_a_refusal_before_the_body_says_that_the_connection_ends(places: tuple[str, str]) -> None:
    """Its client would send the next request there, and hear nothing."""
    host, port = places[0].split(":")
    head = f"POST / HTTP/1.1\r\nhost: {places[0]}\r\norigin: http://evil.example\r\n"
    with socket.create_connection((host, int(port))) as client:
        client.sendall(f"{head}content-length: 1\r\n\r\n".encode())
        answer = b"".join(iter(partial(client.recv, 65536), b""))
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"\r\nconnection: close\r\n" in answer


def test_older_streams(places: tuple[str, str]) -> None:
    url = f"http://{places[1]}/shop/thief"
    assert httpx.get(url, headers=ORIGIN, trust_env=False).status_code == 403


def test_tunnels(places: tuple[str, str]) -> None:
    headers = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    url = f"http://{places[0]}/tunnel"
    with httpx.Client(trust_env=False, headers=headers) as client:
        assert client.get(url, headers=ORIGIN).status_code == 403
        with client.stream("GET", url) as taken:
            assert taken.status_code == 101
