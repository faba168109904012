"""A trio loop with a lock on a thread of its own, and a broker that the test operates by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio
import zmq

from tests.support import eventually
from understudy_broker.protocol.frames import FrameLimits, FrameSequence, decode_to_broker, encode
from understudy_broker.protocol.messages import PROTOCOL_VERSION, Hello, Pulse, ToPeer, Welcome
from understudy_broker.transport.loop_lock import LoopLock

LIMIT_S = 10.0


class Loop:
    """A trio loop on a thread of its own, with its `LoopLock`."""

    def __init__(self, main: Callable[[], Any] = trio.sleep_forever) -> None:
        self.lock = LoopLock()
        self.token: trio.lowlevel.TrioToken
        self._main = main
        self._scope = trio.CancelScope()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Loop:
        self._thread.start()
        assert self._started.wait(LIMIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()
        self._thread.join(LIMIT_S)
        assert not self.running

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def cancel(self) -> None:
        """End the loop, if it has not ended yet."""
        with suppress(trio.RunFinishedError):
            self.token.run_sync_soon(self._scope.cancel)

    def _run(self) -> None:
        trio.run(self._inside, instruments=[self.lock])

    async def _inside(self) -> None:
        self.token = trio.lowlevel.current_trio_token()
        self._started.set()
        with self._scope:
            await self._main()

    def acquire(self) -> None:
        """Acquire the lock. The loop sleeps soon, if it has nothing to do."""
        eventually(self.lock.acquire)


class FakeBroker:
    """A ROUTER that welcomes one peer. The test reads and answers by hand."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self.socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self.socket.set(zmq.RCVTIMEO, int(LIMIT_S * 1000))
        self.socket.bind("tcp://127.0.0.1:*")
        self.url = self.socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
        self._sequence = FrameSequence()
        self._peer = b""

    def welcome(self, beat_ms: int) -> None:
        self._peer, [message] = self._receive()
        assert isinstance(message, Hello)
        self._sequence = FrameSequence()
        sizes = (100, 1 << 20, 1 << 19)
        self.send(Welcome(PROTOCOL_VERSION, "b", "a#1", 60_000, beat_ms, *sizes))

    def send(self, message: ToPeer) -> None:
        self.socket.send_multipart([self._peer, self._sequence.stamp(encode([message]))])

    def read(self) -> list[Any]:
        return self._receive()[1]

    def _receive(self) -> tuple[bytes, list[Any]]:
        """Return a frame with its peer; a pulse, on a connection of its own, is none."""
        while True:
            peer, frame = self.socket.recv_multipart()
            messages = list(decode_to_broker(frame, FrameLimits()))
            if not isinstance(messages[0], Pulse):
                return peer, messages
