"""The keys that an issuer publishes, fetched from a real server, which may be a hostile one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.unit.sdk.edge.tokens.forge import ed_key, jwk
from understudy.bench.deployment import free_port
from understudy.edge.tokens import discovery
from understudy.edge.tokens.discovery import BODY_BYTES_MAX, fetch_keys
from understudy.edge.tokens.jwts import KeysError

CONFIGURATION = "/.well-known/openid-configuration"


class Server:
    """A server whose answers a test sets: by path, a status with a body."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []
        self.is_slow = threading.Event()
        self.is_over = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                if server.is_slow.is_set():
                    server.is_over.wait()
                status, body = server.answers.get(self.path, (404, b""))
                self.send_response(status)
                self.send_header("location", "/keys")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    def publish(self, keys: object, **more: Any) -> None:
        document = {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **more}
        self.answers = {
            CONFIGURATION: (200, json.dumps(document).encode()),
            "/keys": (200, json.dumps(keys).encode()),
        }

    def close(self) -> None:
        self.is_over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.publish({"keys": [jwk(ed_key(), kid="ed")]})
    yield server
    server.close()


async def test_keys_are_fetched(server: Server) -> None:
    (key,) = await fetch_keys(server.url)
    assert (key.kid, key.algorithm) == ("ed", "EdDSA")
    assert server.asked == [CONFIGURATION, "/keys"]


Change = Callable[[Server], None]


def _set(path: str, status: int, body: bytes) -> Change:
    return lambda server: server.answers.__setitem__(path, (status, body))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda server: server.publish({}, issuer="https://other.example"), "not that of"),
        (lambda server: server.publish({}, jwks_uri="http://10.0.0.5/keys"), "no https"),
        (lambda server: server.publish({}, jwks_uri="file:///etc/passwd"), "no https"),
        (lambda server: server.publish({}, jwks_uri=7), "no https"),
        (lambda server: server.publish({}), "no JWKS"),
        (_set(CONFIGURATION, 200, b"[]"), "not that of"),
        (_set(CONFIGURATION, 200, b"{"), "no JSON"),
        (_set(CONFIGURATION, 200, b"[" * 100_000), "no JSON"),
        (_set(CONFIGURATION, 302, b""), "status 302"),
        (_set("/keys", 500, b""), "status 500"),
        (_set("/keys", 200, b" " * (BODY_BYTES_MAX + 1)), "more than"),
        (_set("/keys", 200, b"\xff"), "no JSON"),
    ],
)
async def test_answers_that_are_refused(server: Server, change: Change, text: str) -> None:
    change(server)
    with pytest.raises(KeysError, match=text):
        await fetch_keys(server.url)


async def test_an_issuer_that_does_not_answer(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "FETCH_S", 0.2)
    server.is_slow.set()
    with pytest.raises(KeysError, match="has not answered"):
        await fetch_keys(server.url)


async def test_an_issuer_that_is_not_there() -> None:
    with pytest.raises(KeysError, match="ConnectError"):
        await fetch_keys(f"http://127.0.0.1:{free_port()}")
