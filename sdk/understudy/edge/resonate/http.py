"""Small parts of HTTP that the applications of the protocol share: bodies in, JSON out."""

from __future__ import annotations

from typing import Final

import trio
from starlette.types import Receive, Scope, Send

from understudy.edge.arrival import BODY_S, receive_body
from understudy.edge.resonate.envelope import Refusal

_CLOSE: Final = (b"connection", b"close")
_JSON: Final = (b"content-type", b"application/json")


def server_url(scope: Scope) -> str:
    """Return the address under which the client has reached this edge."""
    for name, text in scope["headers"]:
        if name == b"host":
            return f"{scope.get('scheme', 'http')}://{text.decode('latin-1')}"
    host, port = scope.get("server") or ("127.0.0.1", 0)
    return f"http://{host}:{port}"


def path_of(scope: Scope) -> str:
    """Return the path of a request as it came, with what is quoted in it."""
    raw = scope.get("raw_path")
    return raw.decode("ascii", "replace") if raw else str(scope["path"])


async def read_body(receive: Receive, bytes_max: int) -> bytes:
    """Return the body of a request.

    Raises
    ------
    Refusal
        413 it is too large, 408 it has not arrived in time. The connection should be closed.
    ClientDisconnect
        The client has hung up before its end.
    """
    with trio.move_on_after(BODY_S):
        body, _ = await receive_body(receive, bytes_max)
        if body is None:
            raise Refusal(413, f"a request has at most {bytes_max} bytes")
        return body
    raise Refusal(408, f"the body has not arrived in {BODY_S:g} s")


async def send_json(send: Send, status: int, body: bytes, *, is_last: bool = False) -> None:
    """Send an answer with JSON; if it is the last, the connection is closed after it."""
    headers = [_JSON, (b"content-length", b"%d" % len(body)), *([_CLOSE] if is_last else [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def break_off(send: Send) -> None:
    """End the connection in the middle of an answer."""
    headers = [_JSON, (b"content-length", b"1")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": True})
