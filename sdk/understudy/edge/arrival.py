"""Bodies of requests as they arrive, with bounds for their size and their time."""

from __future__ import annotations

from typing import Final, NamedTuple

from starlette.requests import ClientDisconnect
from starlette.types import Receive

#: how long a body may take to arrive
BODY_S: Final = 60.0
#: A body that is too large is read to its end, up to so many times of what is allowed, because a
#: client that is still sending does not read the answer.
OVERRUN: Final = 4


class Arrived(NamedTuple):
    """The body of a request, as far as it was read.

    Attributes
    ----------
    body
        None if it is too large.
    is_whole
        True if nothing more of it will come.
    """

    body: bytes | None
    is_whole: bool


async def receive_body(receive: Receive, bytes_max: int) -> Arrived:
    """Return the body of a request; raises `ClientDisconnect` if the client hangs up before."""
    parts: list[bytes] = []
    size = 0
    has_more = True
    while has_more and size <= OVERRUN * bytes_max:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size <= bytes_max:
            parts.append(part)
        else:
            parts.clear()
        has_more = message.get("more_body", False)
    return Arrived(b"".join(parts) if size <= bytes_max else None, not has_more)
