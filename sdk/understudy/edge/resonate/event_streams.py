"""Event streams: what waits for a listener goes out, until the client has gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias
from urllib.parse import unquote

import msgspec
import trio
from starlette.types import Receive, Send

from understudy.edge.asker import ASKER
from understudy.edge.brokers import BusyError, NoBrokerError
from understudy.edge.resonate.http import send_json
from understudy.edge.resonate.streams import Listener, Message, Streams
from understudy_store.addresses import InvalidAddressError, check_name

_EVENTS: Final = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]

#: returns a message as an event; nothing, if it is of no use any more
MakeEvent: TypeAlias = Callable[[Message], Awaitable[bytes]]


class EventStreams:
    """Opens streams for the listeners that ask for them.

    Parameters
    ----------
    draining
        Set once streams are to end.
    streams_max
        Streams that may be open at a time.
    refusal
        Returns why those who ask may not listen at a group, or None.
    """

    def __init__(
        self,
        streams: Streams,
        draining: trio.Event,
        streams_max: int,
        refusal: Callable[[str], Awaitable[str | None]] | None = None,
    ) -> None:
        self._refusal = refusal
        self._streams = streams
        self._draining = draining
        self._streams_max = streams_max

    async def open(self, path: str, make_event: MakeEvent, receive: Receive, send: Send) -> None:
        """Serve the stream of a listener, until it or the edge ends.

        Parameters
        ----------
        path
            Group and name, as they came.
        """
        try:
            group, name = map(unquote, path.split("/"))
            check_name(group, "group")
            check_name(name, "id")
        except (ValueError, InvalidAddressError) as error:
            await send_json(send, 400, msgspec.json.encode({"error": str(error)}))
            return
        if self._streams.count >= self._streams_max or self._draining.is_set():
            await send_json(send, 503, b'{"error":"too many streams"}')
            return
        try:
            refusal = None if self._refusal is None else await self._refusal(group)
        except (NoBrokerError, BusyError) as error:
            await send_json(send, 503, msgspec.json.encode({"error": str(error)}))
            return
        if refusal is not None:
            await send_json(send, 403, msgspec.json.encode({"error": refusal}))
            return
        stream = _Stream(self._streams, group, name, make_event)
        if stream.is_taken:
            await send_json(send, 409, b'{"error":"this name is that of another identity"}')
            return
        await stream.run(receive, send, self._draining)


class _Stream:
    """One event stream, from its head to its end."""

    def __init__(self, streams: Streams, group: str, name: str, make_event: MakeEvent) -> None:
        self._streams = streams
        self._news = trio.Event()
        self._listener = Listener(group, name, lambda: self._news.set(), ASKER.get())
        self._make_event = make_event

    @property
    def is_taken(self) -> bool:
        """True if its name is that of another identity's stream."""
        return self._streams.is_taken(self._listener)

    async def run(self, receive: Receive, send: Send, draining: trio.Event) -> None:
        """Send messages until the client has gone, or the edge is to end."""
        await send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        if self.is_taken:  # since a moment
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        self._streams.open(self._listener)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
                nursery.start_soon(_until_set, draining, nursery.cancel_scope)
                await self._send_messages(send)
        finally:
            self._streams.close(self._listener)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_messages(self, send: Send) -> None:
        while True:
            await self._news.wait()
            self._news = trio.Event()
            messages = self._listener.take()
            body = b"".join([await self._make_event(message) for message in messages])
            await send({"type": "http.response.body", "body": body, "more_body": True})
            for message in messages:
                if message.acknowledge is not None:
                    message.acknowledge()


async def _until_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _until_set(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
