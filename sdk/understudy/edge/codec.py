"""A codec endpoint: opens sealed values for a page that shows them.

Brokers and edges without seal keys show a sealed value as its key's id and its bytes. A team that
has the keys runs this beside its browser; so the page shows values, and neither it nor the brokers
ever have a key.
"""

from __future__ import annotations

import base64
import binascii
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from understudy.edge.address import is_loopback
from understudy.edge.arrival import receive_body
from understudy.edge.server import Limits, serve
from understudy.edge.sites import ANY_NAME, is_from_elsewhere, is_name_of
from understudy.values.seals import Place, Sealer, is_sealed, problem_of
from understudy.views.json_data import decoded

#: bytes of a request, and sealed values in it
BODY_BYTES_MAX: Final = 16 * 1024 * 1024
VALUES_MAX: Final = 1_000
_LIMITS: Final = Limits(connections_max=256)


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    """A sealed value, and the place that it is from."""

    id: str
    part: str
    data: str
    function: str = ""


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    values: list[_Asked]


def open_values(body: bytes, sealer: Sealer) -> list[dict[str, Any]]:
    """Open the values of a request; each has a `value`, or a `problem` that says why not.

    Raises
    ------
    ValueError
        The request is no such request; the message says what is wrong.
    """
    asked = msgspec.json.decode(body, type=_Body).values
    if len(asked) > VALUES_MAX:
        raise ValueError(f"{len(asked):,} values are too many: up to {VALUES_MAX:,} are opened")
    return [_opened(each, sealer) for each in asked]


def _opened(asked: _Asked, sealer: Sealer) -> dict[str, Any]:
    try:
        data = base64.b64decode(asked.data, validate=True)
    except (binascii.Error, ValueError):
        return {"problem": "data is not base64"}
    if not is_sealed(data):
        return {"problem": "it is not sealed"}
    opened = sealer.opened(data, Place(asked.id, asked.part, asked.function))
    if is_sealed(opened):
        return {"problem": problem_of(opened, sealer)}
    return {"value": decoded(opened)}


def make_codec_app(sealer: Sealer, host: str, origins: Iterable[str]) -> ASGIApp:
    """Return the application of a codec endpoint.

    Parameters
    ----------
    host
        Where it listens. On loopback it answers only those who reach it by an address or as
        ``localhost``.
    origins
        The pages that may ask, as browsers name them: ``https://dashboard.example``.
    """
    allowed = frozenset(origins)

    async def open_(request: Request) -> Response:
        arrived = await receive_body(request.receive, BODY_BYTES_MAX)
        if arrived.body is None:
            return _problem(413, f"the body has more than {BODY_BYTES_MAX:,} bytes")
        try:
            values = open_values(arrived.body, sealer)
        except ValueError as error:
            return _problem(400, f"the body cannot be used: {error}")
        return _json(200, {"values": values})

    cors = Middleware(
        CORSMiddleware,
        allow_origins=sorted(allowed),
        allow_methods=["POST"],
        allow_headers=["content-type"],
    )
    app = Starlette(routes=[Route("/open", open_, methods=["POST"])], middleware=[cors])
    names = frozenset[str]() if is_loopback(host) else ANY_NAME
    return _AllowedPages(app, allowed, names)


class _AllowedPages:
    """Refuses pages of other sites than those that are allowed, and other names of this machine."""

    def __init__(self, app: ASGIApp, origins: frozenset[str], names: frozenset[str]) -> None:
        self._app = app
        self._origins = origins
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        headers = scope.get("headers", [])
        refused: Response | None = None
        if not is_name_of(self._names, headers):
            refused = _problem(421, "this endpoint is not known by that name")
        elif is_from_elsewhere(headers) and self._origin(headers) not in self._origins:
            refused = _problem(403, "pages of this site may not ask: allow it with --origin")
        await (self._app if refused is None else refused)(scope, receive, send)

    @staticmethod
    def _origin(headers: list[tuple[bytes, bytes]]) -> str:
        found = (text for name, text in headers if name.lower() == b"origin")
        return next(found, b"").decode("latin-1")


async def serve_codec(
    sock: socket.socket,
    sealer: Sealer,
    origins: Iterable[str],
    stop: Callable[[], Awaitable[object]],
) -> None:
    """Serve a codec endpoint at a listening socket until `stop` returns."""
    app = make_codec_app(sealer, sock.getsockname()[0], origins)
    await serve(app, sock, _LIMITS, stop)


def _json(status: int, value: Any) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def _problem(status: int, detail: str) -> Response:
    return _json(status, {"status": status, "detail": detail})
