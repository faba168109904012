"""Refuses what a page of another site has the browser of its visitor do, and requests for others.

An edge on loopback is out of reach for other machines, and not for the pages that a browser on this
one shows. They cannot read an answer, but a request would be performed, whatever its protocol: a
text that is JSON needs no leave to be sent, nor does a WebSocket. Browsers say where a request
comes from: in ``Sec-Fetch-Site``, or at least in ``Origin``. Other clients send neither.

A site can also have its own name lead to this machine, after its page was loaded ("DNS rebinding"):
to the browser the edge is that site then. But it sends the name in ``Host``; so an edge on loopback
answers only those that reach it by an address, as ``localhost``, or by a name that it was given.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

#: every name is that of the edge
ANY_NAME: Final = frozenset({"*"})
_SAFE: Final = ("GET", "HEAD", "OPTIONS")
_OTHER_SITES: Final = (b"cross-site", b"same-site")
_PORT: Final = re.compile(r":[0-9]*$")
#: of streams that take part in a group once they are open
_JOINING: Final = "/poll/"
_REFUSAL: Final = "a page of another site may not do this, in the browser of its visitor"
_BODY: Final = msgspec.json.encode(
    {"type": "about:blank", "title": "Forbidden", "status": 403, "detail": _REFUSAL}
)
_OTHER_NAME: Final = (
    "this edge is not known by that name. If it is to be, as behind a proxy on its machine, start "
    "it with --names, or set UNDERSTUDY_EDGE__NAMES"
)
_MISDIRECTED: Final = msgspec.json.encode(
    {"type": "about:blank", "title": "Misdirected Request", "status": 421, "detail": _OTHER_NAME}
)


def is_from_elsewhere(headers: list[tuple[bytes, bytes]]) -> bool:
    """Return whether a browser says that a page of another site has made a request.

    Examples
    --------
    >>> is_from_elsewhere([(b"host", b"127.0.0.1:8001"), (b"origin", b"http://evil.example")])
    True
    >>> is_from_elsewhere([(b"host", b"127.0.0.1:8001")])
    False
    """
    named = {name.lower(): text for name, text in headers}
    site = named.get(b"sec-fetch-site")
    if site is not None:
        return site in _OTHER_SITES
    origin = named.get(b"origin")
    if origin is None:
        return False
    host = named.get(b"host", b"").decode("latin-1")
    try:
        return urlsplit(origin.decode("latin-1")).netloc != host
    except ValueError:
        return True


def is_name_of(names: frozenset[str], headers: list[tuple[bytes, bytes]]) -> bool:
    """Return whether a request is for an edge of these names on this machine.

    Examples
    --------
    >>> is_name_of(frozenset({"edge.example"}), [(b"host", b"edge.example:8001")])
    True
    >>> is_name_of(frozenset(), [(b"host", b"[::1]:8001")])
    True
    >>> is_name_of(frozenset(), [(b"host", b"evil.example")])
    False
    """
    if names is ANY_NAME or "*" in names:
        return True
    hosts = [text.decode("latin-1") for name, text in headers if name.lower() == b"host"]
    if not hosts:
        return True  # HTTP/1.0, which no browser speaks
    name = hosts[0].rpartition(":")[0] if _PORT.search(hosts[0]) else hosts[0]
    name = name.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost") or name in names:
        return True
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


class OwnSite:
    """An application that takes no requests of other sites' pages, but for reading.

    Parameters
    ----------
    joins
        Each request takes part in a group, also those that seem to read.
    names
        Names by which clients reach the edge, besides those of its machine.
    """

    def __init__(
        self, app: ASGIApp, *, joins: bool = False, names: frozenset[str] = ANY_NAME
    ) -> None:
        self._app = app
        self._names = names
        self._joins = joins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] in ("http", "websocket") and not is_name_of(self._names, scope["headers"]):
            await _refuse(scope, send, 421, _MISDIRECTED)
        elif self._changes(scope) and is_from_elsewhere(scope["headers"]):
            await _refuse(scope, send, 403, _BODY)
        else:
            await self._app(scope, receive, send)

    def _changes(self, scope: Scope) -> bool:
        if scope["type"] != "http":
            return bool(scope["type"] == "websocket")
        return self._joins or scope["method"] not in _SAFE or scope["path"].startswith(_JOINING)


async def _refuse(scope: Scope, send: Send, status: int, body: bytes) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
