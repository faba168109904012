"""One request and its answer, as a handler sees them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from understudy.edge.arrival import BODY_S, OVERRUN, receive_body
from understudy.edge.native import bodies
from understudy.edge.native.parameters import Parameters
from understudy.edge.native.problems import MEDIA_TYPE, Problem


class Exchange:
    """A request, its parts as they are asked for, and the answers that it may get.

    Parameters
    ----------
    body_bytes_max
        How large its body may be.

    Attributes
    ----------
    names
        The ids and names in its path.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        body_bytes_max: int,
    ) -> None:
        self.names: Mapping[str, str] = {}
        self.send = send
        self._receive = receive
        self._query: Final[bytes] = scope["query_string"]
        self._headers: Final[list[tuple[bytes, bytes]]] = scope["headers"]
        self._body_bytes_max = body_bytes_max
        self._is_read = not any(
            key.lower() in (b"content-length", b"transfer-encoding") for key, _ in self._headers
        )

    def parameters(self, *allowed: str) -> Parameters:
        """Return the parameters; raises `Problem` if there are any that are not `allowed`."""
        return Parameters(self._query, allowed)

    def headers(self, name: bytes) -> list[bytes]:
        """Return the values of all headers of a name, which is given in lower case."""
        return [value for key, value in self._headers if key.lower() == name]

    def all_headers(self) -> dict[str, str]:
        """Return all headers by names in lower case; of a repeated one, the last."""
        return {
            key.decode("latin1").lower(): value.decode("latin1") for key, value in self._headers
        }

    def header(self, name: bytes) -> bytes | None:
        """Return the value of a header; None if there is none."""
        return next(iter(self.headers(name)), None)

    async def body(self) -> bytes:
        """Return the body.

        Raises
        ------
        Problem
            413 it is too large, 408 it does not arrive in time, 400 it has two lengths.
        """
        lengths = self.headers(b"content-length")
        if lengths and self.headers(b"transfer-encoding"):
            # A proxy in between may have believed the other one of the two.
            raise Problem(
                400,
                "the request has both a content-length and a transfer-encoding",
                {"connection": "close"},
            )
        if lengths and int(lengths[0]) > OVERRUN * self._body_bytes_max:
            raise self._too_large()
        with trio.move_on_after(BODY_S):
            return await self._read()
        raise Problem(408, f"the body has not arrived in {BODY_S:g} s", {"connection": "close"})

    async def _read(self) -> bytes:
        arrived = await receive_body(self._receive, self._body_bytes_max)
        self._is_read = arrived.is_whole
        if arrived.body is None:
            raise self._too_large()
        return arrived.body

    async def finish(self, response: Response) -> None:
        """Read what is left of the body before the answer, or have the connection closed after it.

        Otherwise a client may send its next request on a connection that is about to close.
        """
        if not self._is_read:
            with suppress(Problem):
                await self.body()
        if not self._is_read:
            response.headers["connection"] = "close"

    def _too_large(self) -> Problem:
        return Problem(
            413, f"a body may have {self._body_bytes_max:,} bytes", {"connection": "close"}
        )

    async def json(self) -> Any:
        """Return the value of the body, `NOTHING` if it is empty; raises as `body`."""
        body = await self.body()
        media_type = self.header(b"content-type")
        return bodies.parse(body, None if media_type is None else media_type.decode("latin1"))

    async def no_body(self) -> None:
        """Read a body that must be empty; raises `Problem`."""
        if await self.body():
            raise Problem(400, "this request has no body")

    async def disconnected(self) -> None:
        """Return once the client has hung up. The body must have been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


#: answers a request; None: it has been answered with a stream, or nobody waits for an answer
Handler = Callable[[Exchange], Awaitable[Response | None]]


def answer(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer with JSON data, and a line break for people at a terminal."""
    return Response(bodies.write(data) + b"\n", status, headers, "application/json")


def problem_answer(problem: Problem) -> Response:
    """Return the answer that a problem is."""
    return Response(
        bodies.write(problem.data()) + b"\n", problem.status, problem.headers, MEDIA_TYPE
    )


def allow(methods: Iterable[str]) -> str:
    """Return the methods that a path has, as the header ``Allow`` names them."""
    named = set(methods)
    return ", ".join(sorted(named | ({"HEAD"} if "GET" in named else set()) | {"OPTIONS"}))
