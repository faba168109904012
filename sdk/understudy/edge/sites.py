"""Refuses what a page of another site has the browser of its visitor do.

An edge on loopback is out of reach for other machines, and not for the pages that a browser on this
one shows. They cannot read an answer, but a request would be performed, whatever its protocol: a
text that is JSON needs no leave to be sent, nor does a WebSocket. Browsers say where a request
comes from: in ``Sec-Fetch-Site``, or at least in ``Origin``. Other clients send neither.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

_SAFE: Final = ("GET", "HEAD", "OPTIONS")
_OTHER_SITES: Final = (b"cross-site", b"same-site")
#: of streams that take part in a group once they are open
_JOINING: Final = "/poll/"
_REFUSAL: Final = "a page of another site may not do this, in the browser of its visitor"
_BODY: Final = msgspec.json.encode(
    {"type": "about:blank", "title": "Forbidden", "status": 403, "detail": _REFUSAL}
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


class OwnSite:
    """An application that takes no requests of other sites' pages, but for reading.

    Parameters
    ----------
    joins
        Each request takes part in a group, also those that seem to read.
    """

    def __init__(self, app: ASGIApp, *, joins: bool = False) -> None:
        self._app = app
        self._joins = joins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if not (self._changes(scope) and is_from_elsewhere(scope["headers"])):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [
                (b"content-type", b"application/problem+json"),
                (b"content-length", str(len(_BODY)).encode()),
            ]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": _BODY})

    def _changes(self, scope: Scope) -> bool:
        if scope["type"] != "http":
            return bool(scope["type"] == "websocket")
        return self._joins or scope["method"] not in _SAFE or scope["path"].startswith(_JOINING)
