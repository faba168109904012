"""A connection to the broker, kept up for as long as the peer lives: what `client.Link` is made of.

Each connection has a socket of its own, so that nothing old lies in a queue when a new session
begins. When the broker goes away this tries again for ever.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias

import trio
import zmq

from understudy_broker.errors import LinkError
from understudy_broker.link.session import LinkSession
from understudy_broker.protocol.frames import FrameError, decode_to_peer
from understudy_broker.protocol.messages import Bye, Hello, ToPeer, Welcome
from understudy_broker.transport.loop_lock import LoopLock
from understudy_broker.transport.monitor import ConnectionMonitor
from understudy_broker.transport.socket import Pause, TrioSocket

HelloFactory: TypeAlias = Callable[[], Hello]
OnMessages: TypeAlias = Callable[[list[ToPeer]], None]

#: between one attempt to connect and the next
BACKOFF_S: Final = (0.05, 1.0)
#: for frames that the connection does not take at once
RETRY_FULL_S: Final = 0.02
#: frames in the pipe to the broker; the rest waits here and is counted as unanswered
PIPE_FRAMES_MAX: Final = 1_024
BYE_LINGER_MS: Final = 250
BYE_WAIT_S: Final = 0.25
#: how long who has heard something waits for the loop, should that be awake
TURN_WAIT_S: Final = 0.05


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class LinkConnection:
    """Keeps one connection up, sends what its core has for the broker, and takes in what comes.

    All methods belong to the trio loop that calls `run`, but for those that say otherwise.
    """

    def __init__(
        self,
        url: str,
        hello_factory: HelloFactory,
        on_messages: OnMessages,
        *,
        context: zmq.Context[Any],
        on_connected: Callable[[Welcome], None] | None,
        on_disconnected: Callable[[str], None] | None,
        backlog_max: int,
        engaged: Callable[[], bool] | None,
    ) -> None:
        self.url = url
        self._core = LinkSession(backlog_max=backlog_max, engaged=engaged)
        self._hello_factory = hello_factory
        self._on_messages = on_messages
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._context = context
        #: of the loop, once it runs
        self._thread = 0
        self._token: trio.lowlevel.TrioToken
        self._socket: TrioSocket | None = None
        #: set at the next change; None while nobody waits for one
        self._changed: trio.Event | None = None
        #: those that wait in `Link.call`
        self._calls: set[trio.Event] = set()
        self._unsent: list[bytes] = []
        #: when the loop will look again by itself
        self._due_at = 0
        self._corked = False
        self._closed = False
        self._greeted = False
        self._welcomed_here = False
        self._rejoining = False
        #: it says goodbye: what comes from here on is for nobody
        self._leaving = False

    @property
    def connected(self) -> bool:
        """Whether the broker has welcomed this connection."""
        return self._core.connected

    # Sending -----------------------------------------------------------------------------------

    def cork(self) -> None:
        """Hold back what is asked and said from here on, until `uncork`."""
        self._corked = True

    def uncork(self) -> None:
        """Send it at once, in one frame, without a turn of the loop in between.

        Another thread that holds the `LoopLock` may call it too, as it may `cork` and `request`.
        """
        self._corked = False
        if self._socket is None or not self._core.connected:
            return
        if not self._unsent and not self._core.has_more:
            return
        if not self._unsent:
            self._flush(self._socket, _now_ms())
        if self._unsent or self._core.next_due() < self._due_at:
            self._kick()

    def _kick(self) -> None:
        if self._socket is not None and not self._corked:
            self._socket.wake()

    async def _change(self) -> None:
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def _notify(self) -> None:
        changed = self._changed
        if changed is not None:
            self._changed = None
            self._on_loop(changed.set)

    def _on_loop(self, function: Callable[[], None]) -> None:
        """What only the loop's own thread may do, also under a borrowed turn."""
        if threading.get_ident() == self._thread:
            function()
        else:
            self._token.run_sync_soon(function)

    # On another thread, in the loop's place ----------------------------------------------------

    def poll(self, loop_lock: LoopLock, timeout_s: float, on_polled: Callable[[], None]) -> bool:
        """Wait for what the broker sends and take it in, while the loop sleeps on.

        One thread at a time; it must not have the turn.

        Parameters
        ----------
        loop_lock
            The loop's. It is borrowed to take in what came.
        timeout_s
            How long to wait at most; see also `interrupt`.
        on_polled
            Called when the waiting is over, without the turn.

        Returns
        -------
        bool
            Whether something came and was taken in. If not, the loop does it.
        """
        socket = self._socket
        if (
            socket is None
            or socket.handoff is None
            or not self.connected
            or not socket.handoff.take_over()
        ):
            return False
        try:
            came = socket.handoff.poll(timeout_s)
            on_polled()
            if not came or not loop_lock.acquire(TURN_WAIT_S):
                return False
            try:
                return self._take_here(socket)
            finally:
                loop_lock.release()
        finally:
            socket.handoff.hand_back()

    def interrupt(self) -> None:
        """Let who waits in `poll` return."""
        socket = self._socket
        if socket is not None and socket.handoff is not None:
            socket.handoff.interrupt()

    def _take_here(self, socket: TrioSocket) -> bool:
        if self._socket is not socket or not self.connected or self._leaving:
            return False
        self.cork()
        try:
            self._take(socket, _now_ms())
        finally:
            self.uncork()
        if self._core.failure is not None or self._core.broken(_now_ms()) or socket.has_unread:
            socket.wake()
        return True

    # The service -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the connection up until cancelled, or until the broker refuses it for good."""
        self._thread = threading.get_ident()
        self._token = trio.lowlevel.current_trio_token()
        wait_s = BACKOFF_S[0]
        try:
            while True:
                began = trio.current_time()
                self._welcomed_here = self._rejoining = False
                await self._connection()
                if self._core.failure is not None:
                    raise self._core.failure
                lasted_s = trio.current_time() - began
                if self._rejoining or (self._welcomed_here and lasted_s >= BACKOFF_S[1]):
                    # It worked until now: back at once, within the grace that tasks are kept for.
                    wait_s = BACKOFF_S[0]
                    await trio.lowlevel.checkpoint()
                else:
                    # Many peers may lose one broker at the same moment: they come back spread out.
                    await trio.sleep(wait_s * random.uniform(0.5, 1.0))
                    wait_s = min(2 * wait_s, BACKOFF_S[1])
        finally:
            self._closed = True
            self._notify()
            for call in self._calls:
                call.set()

    async def _connection(self) -> None:
        socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.SNDHWM, PIPE_FRAMES_MAX)
        socket.set(zmq.RCVHWM, PIPE_FRAMES_MAX)
        socket.set(zmq.RECONNECT_IVL, 50)
        socket.set(zmq.RECONNECT_IVL_MAX, 250)
        socket.set(zmq.TCP_KEEPALIVE, 1)
        self._unsent = []
        linger_ms = 0
        with TrioSocket(socket, shared=True) as self._socket:
            monitor = ConnectionMonitor(socket)
            try:
                self._connect(socket)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_kick_for_events, monitor, self._socket)
                    await self._session(self._socket, monitor)
                    nursery.cancel_scope.cancel()
            # a group: all tasks of the nursery are cancelled together
            except* trio.Cancelled:
                self._leaving = True
                self.interrupt()
                linger_ms = self._say_bye(self._socket)
                if linger_ms:
                    await self._hear_bye(self._socket)
                raise
            finally:
                monitor.close()
                socket.set(zmq.LINGER, linger_ms)
                self._socket.close(linger_ms)
                self._socket = None
                self._gone()

    def _connect(self, socket: zmq.Socket[bytes]) -> None:
        try:
            socket.connect(self.url)
        except zmq.ZMQError as error:
            self._core.failure = LinkError(
                f"{self.url!r} is no address of a broker ({error.strerror}): "
                "it looks like tcp://127.0.0.1:5577"
            )
            raise self._core.failure from None

    def _say_bye(self, socket: TrioSocket) -> int:
        """The last frame of a link that is closed: what is still to be said, and `Bye`."""
        if not self._core.connected:
            return 0
        self._core.send(Bye())
        self._flush(socket, _now_ms())
        return BYE_LINGER_MS

    async def _hear_bye(self, socket: TrioSocket) -> None:
        """Until the broker has read it: a connection that closes first looks like a crash."""
        with trio.move_on_after(BYE_WAIT_S, shield=True):
            while not self._core.dismissed:
                for parts in socket.receive_nowait():
                    with suppress(FrameError):
                        if self._core.in_order(parts[-1]):
                            self._core.received(decode_to_peer(parts[-1]), _now_ms())
                if not self._core.dismissed:
                    await socket.wait()

    def _gone(self) -> None:
        why = self._core.last_error or f"the connection to {self.url} closed"
        if self._core.lost(why) and self._on_disconnected is not None:
            self._on_disconnected(why)
        self._notify()

    async def _session(self, socket: TrioSocket, monitor: ConnectionMonitor) -> None:
        """One connection, from its handshake until it is lost."""
        self._greeted = False
        if self.url.startswith("inproc:"):
            self._greet(socket)
        await socket.drive(lambda: self._turn(socket, monitor))

    def _turn(self, socket: TrioSocket, monitor: ConnectionMonitor) -> Pause | None:
        """Take in what came and send what is owed; None: the connection is lost."""
        now = _now_ms()
        for event in monitor.drain():
            if event.event == zmq.Event.HANDSHAKE_SUCCEEDED and not self._greeted:
                self._greet(socket)
            elif event.event == zmq.Event.DISCONNECTED:
                self._core.last_error = f"the connection to {self.url} closed"
                self._take(socket, now)
                return None
            elif event.event == zmq.Event.CONNECT_RETRIED and not self._greeted:
                self._core.last_error = f"no broker answers at {self.url}"
                self._notify()
        # what is asked meanwhile leaves with the flush below
        self._corked = True
        try:
            self._take(socket, now)
        finally:
            self._corked = False
        if self._core.failure is not None or (self._greeted and self._core.broken(now)):
            if not self._core.last_error:
                self._core.last_error = f"the broker at {self.url} is silent"
            return None
        self._flush(socket, now)
        timeout_s = self._timeout_s(now)
        self._due_at = now + int(timeout_s * 1000)
        return Pause(timeout_s)

    def _timeout_s(self, now: int) -> float:
        if self._unsent:
            return RETRY_FULL_S
        return max(0, self._core.next_due() - now) / 1000 if self._greeted else 3600.0

    def _greet(self, socket: TrioSocket) -> None:
        self._greeted = True
        self._unsent.append(self._core.opened(self._hello_factory(), _now_ms()))
        self._push(socket)

    def _take(self, socket: TrioSocket, now: int) -> None:
        for parts in socket.receive_nowait():
            if not self._core.in_order(parts[-1]):
                continue
            try:
                messages = decode_to_peer(parts[-1])
            except FrameError as error:
                self._core.last_error = f"the broker at {self.url} sent what is no frame: {error}"
                continue
            rest = self._core.received(messages, now)
            for message in rest:
                if type(message) is Welcome:
                    self._welcomed_here = True
                    if self._on_connected is not None:
                        self._on_connected(message)
            rest = [message for message in rest if type(message) is not Welcome]
            if rest:
                self._on_messages(rest)
            self._notify()

    def _flush(self, socket: TrioSocket, now: int) -> None:
        if not self._unsent:
            self._unsent = self._core.take_frames(now)
        self._push(socket)

    def _push(self, socket: TrioSocket) -> None:
        for count, frame in enumerate(self._unsent):
            if not socket.send_nowait([frame]):
                del self._unsent[:count]
                return
        self._unsent.clear()


async def _kick_for_events(monitor: ConnectionMonitor, socket: TrioSocket) -> None:
    while True:
        await monitor.wait()
        socket.wake()
        await trio.lowlevel.checkpoint()
