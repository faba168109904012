"""The port to a server of queues: messages go in, and are confirmed."""

from __future__ import annotations

from typing import Protocol

from understudy.errors import UnderstudyError


class ServerAwayError(UnderstudyError):
    """The server cannot be reached, or has not confirmed a message in time."""


class RefusedError(UnderstudyError):
    """The server does not take a message for this queue; others may be taken."""


class QueueServer(Protocol):
    """A server of queues. All methods are called on one loop of asyncio, between open and close.

    What was put and has failed with `ServerAwayError` may be in the queue nevertheless.
    """

    async def open(self) -> None:
        """Connect; raises `ServerAwayError`."""
        ...

    async def put(self, queue: str, body: bytes) -> None:
        """Put a message into a queue, which is made if need be; return when the server keeps it.

        Any number may be under way.

        Raises
        ------
        ServerAwayError, RefusedError
        """
        ...

    async def lost(self) -> str:
        """Return once the connection is lost, with the reason."""
        ...

    async def close(self) -> None:
        """Disconnect; raises nothing."""
        ...
