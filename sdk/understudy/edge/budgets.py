"""The bytes that an edge holds for all its clients together.

Each request and each answer has a bound of its own, and 12,000 connections may be open; so there is
one for all of them, beyond which a request is refused with 503, and an answer breaks off.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: bytes of the bodies of requests that are being read or served, and of answers that wait for
#: their clients to read
BODIES_BYTES_MAX: Final = 256 * 1024 * 1024
ANSWERS_BYTES_MAX: Final = 256 * 1024 * 1024

_FULL: Final = "this edge holds as many bytes of requests as it may: try again, or at another edge"
_BODY: Final = msgspec.json.encode(
    {"type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": _FULL}
)


class Budget:
    """A number of bytes that may be held at a time."""

    def __init__(self, bytes_max: int) -> None:
        self._left = bytes_max

    def take(self, size: int) -> bool:
        """Hold so many bytes; return False if there is no room for them."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give(self, size: int) -> None:
        """Hold so many bytes no longer."""
        self._left += size


class _FullError(Exception):
    """There is no room for more of a body."""


class WithinBudget:
    """An application whose requests together hold no more bytes of bodies than a budget has."""

    def __init__(self, app: ASGIApp, budget: Budget) -> None:
        self._app = app
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        held = 0
        has_begun = False

        async def receive_held() -> Message:
            nonlocal held
            message = await receive()
            size = len(message.get("body", b""))
            if not self._budget.take(size):
                raise _FullError
            held += size
            return message

        async def send_noted(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive_held, send_noted)
        except* _FullError:
            if not has_begun:
                await _refuse(send)
        finally:
            self._budget.give(held)


async def _refuse(send: Send) -> None:
    headers: Any = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(_BODY)).encode()),
        (b"retry-after", b"1"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY})
