"""In front of an application: who is let through, for whom it asks, and how streams end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.unit.sdk.edge.tokens.forge import NOW, token
from tests.unit.sdk.edge.tokens.test_gate import STATIC, WITH_ISSUER, Publisher, gate_of, write
from understudy.edge.asker import ASKER
from understudy.edge.tokens.asgi import WithTokens

CI = (b"authorization", b"Bearer us_ci")


class App:
    """An application that notes for whom it asks, and may stream for ever."""

    def __init__(self) -> None:
        self.askers: list[str | None] = []
        self.is_sending = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.askers.append(ASKER.get())
        if scope["type"] == "websocket":
            return
        is_stream = scope["raw_path"] == b"/stream"
        kind = b"text/event-stream" if is_stream else b"application/json"
        head = {"status": 200, "headers": [(b"content-type", kind)]}
        await send({"type": "http.response.start", **head})
        if is_stream:
            while True:
                await send({"type": "http.response.body", "body": b"event", "more_body": True})
                await trio.sleep(4)
        await trio.sleep(1000)
        await send({"type": "http.response.body", "body": b"end"})


async def ask(app: Any, path: str, *headers: tuple[bytes, bytes], kind: str = "http") -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        await trio.sleep(3)
        sent.append(message)

    scope = {"type": kind, "path": path, "raw_path": path.encode(), "headers": list(headers)}

    async def run() -> None:  # each request is a task of its own
        await app(scope, None, send)

    with trio.fail_after(5_000):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
    return sent


@pytest.fixture
def served() -> App:
    return App()


async def test_who_is_let_through(
    tmp_path: Path, served: App, autojump_clock: trio.testing.MockClock
) -> None:
    app = WithTokens(served, gate_of(write(tmp_path, STATIC)), has_keys=True)
    assert (await ask(app, "/calls", CI))[0]["status"] == 200
    for path in ("/health", "/ready", "/hooks/github"):
        assert (await ask(app, path))[0]["status"] == 200
    assert served.askers == ["team-b/ci", None, None, None]
    assert await ask(app, "/tunnel", kind="websocket") == []
    for path in ("/", "/calls", "/health/", "/ready2", "/hooks", "//hooks/x", "/poll/hooks/x"):
        start, body = await ask(app, path)
        assert start["status"] == 401
        headers = dict(start["headers"])
        assert headers[b"www-authenticate"] == b'Bearer realm="understudy"'
        assert headers[b"content-type"] == b"application/problem+json"
        assert json.loads(body["body"])["status"] == 401
        assert b"connection" not in headers
    assert len(served.askers) == 5


async def test_two_headers_and_a_body_that_is_not_read(
    tmp_path: Path, served: App, autojump_clock: trio.testing.MockClock
) -> None:
    app = WithTokens(served, gate_of(write(tmp_path, STATIC)), has_keys=True)
    again = (b"Authorization", b"Bearer us_other")
    start, body = await ask(app, "/calls", CI, again, (b"Content-Length", b"5"))
    assert (start["status"], dict(start["headers"])[b"connection"]) == (401, b"close")
    assert "more than one" in body["body"].decode()
    assert served.askers == []


async def test_no_tunnel_around_the_tokens(
    tmp_path: Path, served: App, autojump_clock: trio.testing.MockClock
) -> None:
    app = WithTokens(served, gate_of(write(tmp_path, STATIC)), has_keys=False)
    start, body = await ask(app, "/tunnel", CI, kind="websocket")
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 403)
    assert "no tunnel" in body["body"].decode()
    assert served.askers == []


async def test_a_stream_ends_between_two_events_and_nothing_else_does(
    tmp_path: Path, served: App, autojump_clock: trio.testing.MockClock
) -> None:
    gate = gate_of(write(tmp_path, WITH_ISSUER), Publisher())
    app = WithTokens(served, gate, has_keys=True)
    bearer = (b"authorization", b"Bearer " + token(exp=NOW - 41).encode())
    sent = await ask(app, "/stream", bearer)
    # The third event is on its way, from second 17 to 20, when the token ends, in second 19.
    assert [each.get("body") for each in sent] == [None, b"event", b"event", b"event", b""]
    assert sent[-1]["more_body"] is False
    assert (await ask(app, "/calls", bearer))[-1]["body"] == b"end"
