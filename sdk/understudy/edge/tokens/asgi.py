"""In front of an application: requests with a token that is taken, and those that need none."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec
import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from understudy.edge.asker import ASKER
from understudy.edge.tokens.bearer import RefusedError
from understudy.edge.tokens.gate import TokenGate

#: paths of probes, which learn nothing
_PROBES: Final = (b"/health", b"/ready")
#: beginning of the paths of webhooks, which have signatures of their own
_HOOKS: Final = b"/hooks/"
_EVENTS: Final = b"text/event-stream"
_TUNNELS: Final = (
    "a token opens no tunnel: what travels in it has a key of its own. Tunnels need a broker with "
    "keys, and an edge with one (UNDERSTUDY_KEY)"
)


class WithTokens:
    """An application that serves only those whose tokens are taken.

    It sets for whom the edge asks (`ASKER`), and ends event streams with their tokens.

    Parameters
    ----------
    has_keys
        The brokers take peers by their keys. A tunnel then needs no token, because whoever is in it
        proves its key to the broker. Otherwise there are none, or they would lead around the
        tokens.
    """

    def __init__(self, app: ASGIApp, gate: TokenGate, *, has_keys: bool) -> None:
        self._app = app
        self._gate = gate
        self._has_keys = has_keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "websocket":
            if self._has_keys:
                await self._app(scope, receive, send)
            else:
                await _refuse(scope, send, RefusedError(403, _TUNNELS))
            return
        if scope["type"] != "http" or _is_open(scope["raw_path"]):
            await self._app(scope, receive, send)
            return
        authorization = [
            text for name, text in scope["headers"] if name.lower() == b"authorization"
        ]
        try:
            bearer = await self._gate.bearer(authorization)
        except RefusedError as error:
            await _refuse(scope, send, error)
            return
        ASKER.set(bearer.identity)
        answer = _Answer(send)
        with self._gate.lease(authorization, bearer) as lease:
            answer.on_stream = lease.end_with_token
            await self._app(scope, receive, answer.send)
        if lease.scope.cancelled_caught:
            await answer.end()


class _Answer:
    """An answer that can be ended between two parts of it."""

    def __init__(self, send: Send) -> None:
        self.on_stream: Callable[[], None] = _nothing
        self._send = send

    async def send(self, message: Message) -> None:
        """Send a part. It goes out whole; if the client does not read it, the server breaks off."""
        if message["type"] == "http.response.start" and _is_stream(message):
            self.on_stream()
        with trio.CancelScope(shield=True):
            await self._send(message)

    async def end(self) -> None:
        """End a stream, so that its client sees an end, and comes back with another token."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _nothing() -> None:
    """Do nothing."""


def _is_open(raw_path: bytes) -> bool:
    """Return whether a path needs no token.

    Examples
    --------
    >>> _is_open(b"/ready"), _is_open(b"/hooks/github"), _is_open(b"/calls")
    (True, True, False)
    """
    return raw_path in _PROBES or raw_path.startswith(_HOOKS)


def _is_stream(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and text.startswith(_EVENTS)
        for name, text in message["headers"]
    )


async def _refuse(scope: Scope, send: Send, error: RefusedError) -> None:
    """Answer with a problem; without reading the body, so the connection ends if there is one."""
    data = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.detail,
    }
    body = msgspec.json.encode(data) + b"\n"
    names = {name.lower() for name, _ in scope["headers"]}
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", b"%d" % len(body)),
        *((name.encode(), text.encode()) for name, text in error.headers.items()),
    ]
    kind = "http"
    if scope["type"] == "websocket":
        kind = "websocket.http"
    elif names & {b"content-length", b"transfer-encoding"}:
        headers.append((b"connection", b"close"))
    await send({"type": f"{kind}.response.start", "status": error.status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": body})
