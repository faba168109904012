"""Small parts of HTTP that the applications of the protocol share: bodies in, JSON out."""

from __future__ import annotations

from typing import Final

from starlette.types import Receive, Scope, Send

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


async def read_body(receive: Receive, bytes_max: int) -> bytes | None:
    """Return the body of a request; None if it is too large."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= bytes_max:
        return body
    parts, size = [body], len(body)
    while message.get("more_body", False):
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size <= bytes_max:
            parts.append(part)
    return b"".join(parts) if size <= bytes_max else None


async def send_json(send: Send, status: int, body: bytes) -> None:
    """Send an answer with JSON."""
    headers = [_JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def break_off(send: Send) -> None:
    """End the connection in the middle of an answer."""
    headers = [_JSON, (b"content-length", b"1")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": True})
