"""Event streams: within a bound, until the client hangs up or the edge ends.

A stream tells states, and the latest of each promise only. So a client that reads slowly costs no
memory: while it does not take an event, nothing more is made for it. One that takes nothing for
long is cut off by the server.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from understudy.edge.edge import Edge
from understudy.edge.native import events
from understudy.edge.native.exchange import Exchange
from understudy.edge.native.problems import busy
from understudy.errors import UnderstudyError
from understudy_store.records import PROMISE_WORDS, PromiseRecord

#: After so long without an event, a comment is sent.
COMMENT_S: Final = 15.0

_LOG: Final = logging.getLogger("understudy.edge")

_HEADERS: Final = [
    (b"content-type", events.MEDIA_TYPE.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would keep events back otherwise
]


class Stream:
    """An open event stream.

    Attributes
    ----------
    last_id
        Of the latest event that the client has got; None: it knows nothing yet.
    """

    def __init__(self, exchange: Exchange, last_id: int | None) -> None:
        self.last_id = last_id
        self._send = exchange.send
        self._known_id = last_id

    async def open(self) -> None:
        """Send the head of the answer."""
        await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await self._write(events.opening())

    async def tell(self, data: Any, changed_at: int) -> None:
        """Tell the state of a promise, unless the client knew it when it connected.

        Parameters
        ----------
        data
            The promise as JSON data.
        changed_at
            When it came to this state.
        """
        if events.is_known(changed_at, self._known_id):
            return
        self.last_id = max(self.last_id or 0, changed_at)
        await self._write(events.event("promise", data, self.last_id))

    async def tell_progress(self, data: Any) -> None:
        """Tell how far a function is. It has no id, because nobody has to hear it afterwards."""
        await self._write(events.event("progress", data))

    async def end(self, record: PromiseRecord) -> None:
        """Tell that nothing more will come, because this promise has settled."""
        data = {"id": record.id, "state": PROMISE_WORDS[record.state]}
        # A client that connects again with this id has got everything.
        id_ = max(self.last_id or 0, events.changed_at(record)) + events.OVERLAP_MS
        await self._write(events.event("end", data, id_))

    async def until(self, happens: trio.Event, seconds: float = float("inf")) -> None:
        """Wait for an event, for some time, and send comments meanwhile."""
        ends_at = trio.current_time() + seconds
        while not happens.is_set() and trio.current_time() < ends_at:
            with trio.move_on_at(min(ends_at, trio.current_time() + COMMENT_S)):
                await happens.wait()
            if not happens.is_set() and trio.current_time() < ends_at:
                await self._write(events.COMMENT)

    async def close(self) -> None:
        """End the answer."""
        await self._send({"type": "http.response.body", "body": b""})

    async def _write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})


class Streams:
    """The event streams of an edge."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._scopes: set[trio.CancelScope] = set()
        self._is_watching = False

    @asynccontextmanager
    async def open(self, exchange: Exchange, last_id: int | None) -> AsyncIterator[Stream]:
        """Open a stream, and close it after the block; the block ends early if either side does.

        Raises
        ------
        Problem
            503 as many streams are open as may.
        """
        if len(self._scopes) >= self._edge.settings.streams_max or self._edge.draining.is_set():
            raise busy(
                f"{len(self._scopes):,} event streams are open at this edge, as many as may, or it "
                "ends: try again, or at another edge"
            )
        self._watch_end()
        stream = Stream(exchange, last_id)
        scope = trio.CancelScope()
        self._scopes.add(scope)
        is_gone = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_with, exchange, nursery.cancel_scope.cancel)
                with scope:
                    await stream.open()
                    try:
                        yield stream
                    except UnderstudyError as error:
                        _LOG.info("a stream ends early, so its client comes back: %s", error)
                is_gone = False
                nursery.cancel_scope.cancel()
        finally:
            self._scopes.discard(scope)
        if not is_gone:
            # Beyond the nursery, because the end of the answer looks as if the client hung up.
            await stream.close()

    def _watch_end(self) -> None:
        if not self._is_watching:
            self._is_watching = True
            trio.lowlevel.spawn_system_task(self._end)

    async def _end(self) -> None:
        """End all streams when the edge ends."""
        await self._edge.draining.wait()
        for scope in self._scopes:
            scope.cancel()


async def _cancel_with(exchange: Exchange, cancel: Callable[[], None]) -> None:
    await exchange.disconnected()
    cancel()
