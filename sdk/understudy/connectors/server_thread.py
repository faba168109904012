"""A server of queues on a thread with a loop of asyncio, for a connector on a loop of trio.

The thread connects, and connects again with growing pauses when the connection is lost. Puts travel
there and back one by one; each costs two wake-ups, which loops that are busy share.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

import trio

from understudy.connectors.port import QueueServer, ServerAwayError

#: pauses between attempts to reach the server
_PAUSE_MIN_S: Final = 0.1
_PAUSE_MAX_S: Final = 10.0
#: how long a goodbye may take
_CLOSE_S: Final = 5.0


class _Put:
    """A message on its way, and what became of it."""

    __slots__ = ("body", "done", "error", "queue")

    def __init__(self, queue: str, body: bytes) -> None:
        self.queue = queue
        self.body = body
        self.done = trio.Event()
        self.error: Exception | None = None


class ServerThread:
    """The thread; see `open_server`."""

    def __init__(
        self, server: QueueServer, on_ready: Callable[[], None], on_away: Callable[[str], None]
    ) -> None:
        self._server = server
        self._on_ready = on_ready
        self._on_away = on_away
        self._trio = trio.lowlevel.current_trio_token()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._is_open = False
        #: kept here, because a loop keeps no strong references
        self._puts: set[asyncio.Task[None]] = set()
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._run, name="understudy-queue", daemon=True)

    def start(self) -> None:
        """Start the thread, which connects."""
        self._thread.start()
        self._began.wait()

    async def put(self, queue: str, body: bytes) -> None:
        """Put a message into a queue; raises as `QueueServer.put`. Called on the loop of trio."""
        assert self._loop is not None
        put = _Put(queue, body)
        self._loop.call_soon_threadsafe(self._begin, put)
        await put.done.wait()
        if put.error is not None:
            raise put.error

    async def stop(self) -> None:
        """Disconnect, and end the thread."""
        loop, stopped = self._loop, self._stopped
        assert loop is not None
        assert stopped is not None
        loop.call_soon_threadsafe(stopped.set)
        await trio.to_thread.run_sync(self._thread.join, _CLOSE_S)

    # On the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        self._began.set()
        connecting = asyncio.ensure_future(self._stay_connected())
        stopping = asyncio.ensure_future(self._stopped.wait())
        await asyncio.wait([connecting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if connecting.done():
            connecting.result()
        connecting.cancel()
        await asyncio.wait([connecting], timeout=_CLOSE_S)

    async def _stay_connected(self) -> None:
        pause_s = _PAUSE_MIN_S
        while True:
            try:
                await self._server.open()
                pause_s = _PAUSE_MIN_S
                self._is_open = True
                self._tell(self._on_ready)
                reason = await self._server.lost()
            except ServerAwayError as error:
                reason = str(error)
            finally:
                self._is_open = False
                await self._server.close()
            self._tell(partial(self._on_away, reason))
            await asyncio.sleep(pause_s)
            pause_s = min(_PAUSE_MAX_S, 2 * pause_s)

    def _begin(self, put: _Put) -> None:
        task = asyncio.ensure_future(self._put(put))
        self._puts.add(task)
        task.add_done_callback(self._puts.discard)

    async def _put(self, put: _Put) -> None:
        try:
            if not self._is_open:
                raise ServerAwayError("there is no connection to the server")
            await self._server.put(put.queue, put.body)
        except Exception as error:
            put.error = error
        self._tell(put.done.set)

    def _tell(self, function: Callable[[], None]) -> None:
        """Call a function on the loop of trio."""
        with suppress(trio.RunFinishedError):
            self._trio.run_sync_soon(function)


@asynccontextmanager
async def open_server(
    server: QueueServer, on_ready: Callable[[], None], on_away: Callable[[str], None]
) -> AsyncIterator[ServerThread]:
    """Stay connected to a server while the block runs.

    Parameters
    ----------
    on_ready
        Called on the loop of trio whenever there is a connection.
    on_away
        Called there whenever it is lost or could not be made, with the reason.
    """
    thread = ServerThread(server, on_ready, on_away)
    thread.start()
    try:
        yield thread
    finally:
        with trio.CancelScope(shield=True):
            await thread.stop()
