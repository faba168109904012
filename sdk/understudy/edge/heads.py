"""Checks of heads: of a request's before Hypercorn acts on it, and of an answer's.

- HTTP/2 in clear is not spoken: nobody needs it here, and each of its frames is another way to keep
  a server busy. A wish to change to it is ignored, as HTTP allows.
- A request with both a length and chunks is refused, for every path: a proxy in front may believe
  the one, and the edge the other, so that a body is taken for a request of somebody else's.
- WebSockets are not compressed: a megabyte can stand for a gigabyte.
- An answer after which Hypercorn closes the connection says so, or the client may send its next
  request there and hear nothing.
"""

from __future__ import annotations

from dataclasses import replace

import h11
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Response
from hypercorn.protocol.h11 import H11Protocol


class RefusedHeadError(Exception):
    """The head of a request was answered with an error, and the connection ends."""


class Http1(H11Protocol):
    """HTTP/1.1 as Hypercorn speaks it, and nothing else."""

    async def stream_send(self, event: StreamEvent) -> None:
        """Send what an application answers."""
        if isinstance(event, Response) and event.status_code >= 200 and self._will_close():
            event = replace(event, headers=[*event.headers, (b"connection", b"close")])
        await super().stream_send(event)

    def _will_close(self) -> bool:
        """Return whether the body has yet to come, which nobody will read, or the edge ends."""
        return self.connection.their_state is h11.SEND_BODY or self.context.terminated.is_set()

    async def _check_protocol(self, event: h11.Request) -> None:
        """Take the place of the check that changes to HTTP/2."""
        status = _refusal(event)
        if status is not None:
            await self._send_error_response(status)
            raise RefusedHeadError(f"a request head was refused with {status}")

    async def _create_stream(self, request: h11.Request) -> None:
        await super()._create_stream(_uncompressed(request))


def guard(wrapper: ProtocolWrapper) -> None:
    """Have a new connection speak `Http1`."""
    wrapper.protocol = Http1(
        wrapper.app,
        wrapper.config,
        wrapper.context,
        wrapper.task_group,
        wrapper.state,
        wrapper.ssl,
        wrapper.client,
        wrapper.server,
        wrapper.send,
    )


def _refusal(request: h11.Request) -> int | None:
    """Return the status that refuses a head; None if it is taken."""
    if request.http_version not in (b"1.0", b"1.1"):
        return 505
    names = [name.lower() for name, _ in request.headers]
    if b"content-length" in names and b"transfer-encoding" in names:
        return 400
    return None


def _uncompressed(request: h11.Request) -> h11.Request:
    kept = [
        (name, text)
        for name, text in request.headers
        if name.lower() != b"sec-websocket-extensions"
    ]
    if len(kept) == len(request.headers):
        return request
    return h11.Request(
        method=request.method,
        headers=kept,
        target=request.target,
        http_version=request.http_version,
    )
