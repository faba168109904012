"""NATS JetStream as the server of a connector: each message is acknowledged by its stream.

A target names a subject. The stream that has the subject takes the message; if there is none, one
is made that keeps messages until they are acknowledged.

Messages have no ``Nats-Msg-Id``: a message may be lost after it was taken, and JetStream would drop
the next one about the same task and version as a repetition.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

from nats.js.errors import APIError, NoStreamResponseError

from understudy.connectors.port import RefusedError, ServerAwayError
from understudy.queues.nats import (
    FAILURES,
    TIMEOUT_S,
    check_servers,
    connect,
    flaw_of_subject,
    stream_of,
)

_ACK_S: Final = 10.0


class NatsServer:
    """Servers of NATS; see `port.QueueServer`.

    Parameters
    ----------
    url
        A ``nats://`` URL, or several with commas between them.

    Raises
    ------
    ConfigurationError
        They are none.
    """

    def __init__(self, url: str) -> None:
        self._servers = [each.strip() for each in url.split(",")]
        check_servers(self._servers, "the server")
        self._client: Any = None
        self._jetstream: Any = None
        self._lost: asyncio.Event = asyncio.Event()
        self._making = asyncio.Lock()
        self._publishing: set[asyncio.Future[object]] = set()

    async def open(self) -> None:
        """Connect."""
        self._lost = asyncio.Event()
        try:
            self._client = await connect(self._servers, self._on_closed)
        except FAILURES as error:
            raise ServerAwayError(_text(error)) from None
        self._jetstream = self._client.jetstream(timeout=_ACK_S)

    async def put(self, queue: str, body: bytes) -> None:
        """Publish a message, and wait until its stream has acknowledged it."""
        if flaw := flaw_of_subject(queue):
            raise RefusedError(flaw)
        if self._client is None or self._client.is_closed:
            raise ServerAwayError("the connection is lost")
        try:
            try:
                await self._publish(queue, body)
            except NoStreamResponseError:
                async with self._making:
                    await stream_of(self._jetstream, queue)
                await self._publish(queue, body)
        except APIError as error:
            raise RefusedError(error.description or _text(error)) from None
        except FAILURES as error:
            raise ServerAwayError(_text(error)) from None

    async def _publish(self, subject: str, body: bytes) -> None:
        """Publish a message; unlike the library, raise at once if the connection is lost."""
        publishing = asyncio.ensure_future(self._jetstream.publish(subject, body))
        self._publishing.add(publishing)
        try:
            await publishing
        except asyncio.CancelledError:
            if not self._lost.is_set():
                raise
            raise ServerAwayError("the connection is lost") from None
        finally:
            self._publishing.discard(publishing)

    async def lost(self) -> str:
        """Return once the connection has ended."""
        await self._lost.wait()
        return "the connection is lost"

    async def close(self) -> None:
        """Disconnect."""
        client, self._client, self._jetstream = self._client, None, None
        if client is not None:
            with suppress(Exception):
                async with asyncio.timeout(TIMEOUT_S):
                    await client.close()

    async def _on_closed(self) -> None:
        self._lost.set()
        for each in list(self._publishing):
            each.cancel()


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error) or 'no answer in time'}"
