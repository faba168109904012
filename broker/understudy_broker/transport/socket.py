"""ZeroMQ sockets under trio: the glue between the two, and connection events.

A ZeroMQ socket's descriptor is edge-triggered: it becomes readable when the socket's mailbox has
something to process, and any call on the socket processes it. So a send may swallow the signal that
a reader waits for. Two rules follow, and this module keeps them: EVENTS is read again before every
wait and after every send, and a send that finds something to read wakes the reader itself.

One task owns a socket. It waits in `wait` or `drive`; whatever should make it go on calls `kick`.
Where the socket is shared, another thread may wait in its place (`ear`).
"""

from __future__ import annotations

import math
import struct
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final, NamedTuple

import trio
import zmq

from understudy_broker.transport.busy_poll import BusyPoll
from understudy_broker.transport.poll_handoff import poll_handoff_of

# plain numbers: an operation on an enum costs as much as the system call it is for
_POLLIN: Final = int(zmq.POLLIN)
_POLLOUT: Final = int(zmq.POLLOUT)
_EVENTS: Final = int(zmq.EVENTS)
_NOBLOCK: Final = int(zmq.NOBLOCK)
_RCVMORE: Final = int(zmq.RCVMORE)
_MORE_NOBLOCK: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
#: how long other tasks of the loop may wait while looking finds one message after the other: a
#: turn of theirs takes 20 µs, also if they have nothing to do
_OTHERS_WAIT_S: Final = 0.002


class Pause(NamedTuple):
    """Until something may be received (or `events` say otherwise), or for `timeout_s` at most.

    `brief`: it will not be long, by all that is known, and no other thread is to `kick`.
    """

    timeout_s: float = math.inf
    events: int = _POLLIN
    brief: bool = False


class TrioSocket:
    """A ZeroMQ socket for one trio task.

    Parameters
    ----------
    socket
        Bound or connected, or not yet. It stays the caller's until `close`.
    busy_poll_s
        How long to look before sleeping, where that pays, in pauses that are to be brief.
    shared
        Another thread may listen in the task's place, through `ear`, where the system can do that.
    """

    def __init__(
        self, socket: zmq.Socket[bytes], busy_poll_s: float = 0.0, *, shared: bool = False
    ) -> None:
        self.socket = socket
        fd = int(socket.get(zmq.FD))
        self.ear = poll_handoff_of(fd) if shared else None
        #: what the task waits for
        self._fd = fd if self.ear is None else self.ear.fd
        self._busy_poll = BusyPoll(fd, busy_poll_s)
        #: of the task that owns it, from its first pause on
        self._thread = 0
        self._token: trio.lowlevel.TrioToken | None = None
        self._waiting: trio.CancelScope | None = None
        self._kicked = False
        #: when the loop's other tasks had their turn for sure
        self._checked_at = -math.inf
        #: whether `receive_nowait` ended at its bound
        self.left_some = False

    def __enter__(self) -> TrioSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, linger_ms: int = 0) -> None:
        """Close the socket; what is not sent within `linger_ms` is dropped."""
        if not self.socket.closed:
            if self.ear is not None:
                self.ear.close()
            self.socket.close(linger_ms)
        self.kick()

    def kick(self) -> None:
        """Make the task in `wait`, or the next to come there, go on.

        Also from another thread that has the loop's turn (`turns.LoopLock`).
        """
        if self._token is not None and threading.get_ident() != self._thread:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self.kick, idempotent=True)
            return
        self._kicked = True
        if self._waiting is not None:
            self._waiting.cancel()

    def _events(self) -> int:
        events = self.socket.getsockopt(_EVENTS)
        assert isinstance(events, int)
        return events

    def readable(self) -> bool:
        """Whether something can be received now."""
        return bool(self._events() & _POLLIN)

    async def wait(self, timeout_s: float = math.inf, *, events: int = _POLLIN) -> None:
        """Return when something may be received, at a kick, or after `timeout_s`.

        Always a checkpoint. It may return for no reason: callers look for themselves.
        """
        with trio.CancelScope() as scope:
            await self._pause(scope, Pause(timeout_s, events))

    async def drive(self, turn: Callable[[], Pause | None]) -> None:
        """Call `turn` again after each pause that it returned, until it returns None.

        A loop around `wait` for those who do this all the time: the cancel scope, which costs more
        than the waiting, is kept as long as nothing cancels it.
        """
        while True:
            with trio.CancelScope() as scope:
                while (pause := turn()) is not None:
                    await self._pause(scope, pause)
                return

    async def _pause(self, scope: trio.CancelScope, pause: Pause) -> None:
        if self._waiting is not None:
            raise RuntimeError("one task owns a socket: another one waits here already")
        if self._token is None:
            self._token = trio.lowlevel.current_trio_token()
            self._thread = threading.get_ident()
        if self._kicked or pause.timeout_s <= 0 or self._events() & pause.events:
            self._kicked = False
            await trio.lowlevel.checkpoint()
            return
        began = trio.current_time()
        if pause.brief and self._busy_poll.look(pause.timeout_s):
            if began - self._checked_at > _OTHERS_WAIT_S:
                self._checked_at = began
                await trio.lowlevel.checkpoint()
            return
        until = began + pause.timeout_s
        if until < scope.deadline:
            # a later one is not worth it: the pause ends too early then, once
            scope.deadline = until
        self._waiting = scope
        try:
            await trio.lowlevel.wait_readable(self._fd)
        finally:
            self._waiting = None
            self._kicked = False
            if pause.brief and (now := trio.current_time()) < until:
                self._busy_poll.slept(now - began)

    def receive_nowait(self, frames_max: int = 1024, bytes_max: int = 1 << 26) -> list[list[bytes]]:
        """Take what is readable, up to a bound, as lists of parts. Never blocks."""
        received: list[list[bytes]] = []
        size = 0
        receive, get = self.socket.recv, self.socket.getsockopt
        self.left_some = False
        try:
            while len(received) < frames_max and size < bytes_max:
                parts = [receive(_NOBLOCK)]
                received.append(parts)
                while get(_RCVMORE):
                    parts.append(receive(_NOBLOCK))
                size += len(parts[-1])
                # one frame is the common case, and to be told that there is no other takes longer
                if len(received) == 1 and not self.readable():
                    break
            else:
                self.left_some = True
        except zmq.Again:
            pass
        return received

    async def receive_batch(self, frames_max: int = 1024) -> list[list[bytes]]:
        """Wait until something is readable and take all that is, up to `frames_max`."""
        while True:
            received = self.receive_nowait(frames_max)
            if received:
                await trio.lowlevel.checkpoint()
                return received
            await self.wait()

    def receive_routed_nowait(
        self, frames_max: int = 1024, bytes_max: int = 1 << 26
    ) -> tuple[list[tuple[bytes, zmq.Frame | None]], bool]:
        """Of a ROUTER: take what is readable, up to a bound, and whether that was all.

        Each with its peer, not copied, and with what ZeroMQ knows of it; None for a message that
        has anything but one part.
        """
        received: list[tuple[bytes, zmq.Frame | None]] = []
        size = 0
        receive = self.socket.recv
        try:
            while len(received) < frames_max and size < bytes_max:
                peer = receive(_NOBLOCK)
                frame = receive(_NOBLOCK, False)
                size += len(frame)
                if frame.more:
                    received.append((peer, None))
                    while receive(_NOBLOCK, False).more:
                        pass
                else:
                    received.append((peer, frame))
                if len(received) == 1 and not self.readable():
                    return received, True
        except zmq.Again:
            return received, True
        return received, False

    def send_nowait(self, parts: list[bytes]) -> bool:
        """Send, or return False if the socket (for a ROUTER: that peer) cannot take it now.

        Raises
        ------
        zmq.ZMQError
            EHOSTUNREACH of a ROUTER with ROUTER_MANDATORY whose peer is gone, and the like.
        """
        send = self.socket.send
        try:
            for part in parts[:-1]:
                send(part, _MORE_NOBLOCK)
            send(parts[-1], _NOBLOCK)
            sent = True
        except zmq.Again:
            # at the first part: with it all of them are taken
            sent = False
        # The send may have processed the signal that the owner waits for.
        if self._waiting is not None and self.readable():
            self.kick()
        return sent

    def send_tracked_nowait(self, parts: list[bytes]) -> zmq.MessageTracker | None:
        """As `send_nowait`, without a copy; None if it cannot be taken now.

        The tracker is done when the last part has left for the peer, if it is large enough for
        that to be worth knowing (``zmq.COPY_THRESHOLD``).
        """
        try:
            tracker = self.socket.send_multipart(parts, _NOBLOCK, copy=False, track=True)
        except zmq.Again:
            tracker = None
        if self._waiting is not None and self.readable():
            self.kick()
        return tracker

    async def wait_writable(self) -> None:
        """Return when a send may succeed. Useless for a ROUTER: it always may."""
        await self.wait(events=_POLLOUT)
        while not self._events() & _POLLOUT:
            await self.wait(events=_POLLOUT)


class ConnectionEvent(NamedTuple):
    """`event` as ``zmq.Event``; `value` is the connection's descriptor, or what ZeroMQ says."""

    event: zmq.Event
    value: int
    endpoint: bytes


LIFE_EVENTS = (
    zmq.Event.ACCEPTED
    | zmq.Event.HANDSHAKE_SUCCEEDED
    | zmq.Event.DISCONNECTED
    | zmq.Event.CONNECT_RETRIED
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
    | zmq.Event.CLOSED
)


#: the first part of a monitor's message: 16 bits event, 32 bits value. pyzmq's own reader of it
#: would load asyncio.
_MONITOR_HEAD: Final = struct.Struct("=Hi")
#: taken at a time
_EVENTS_MAX: Final = 1024


class ConnectionMonitor:
    """The connections of a socket as they come and go. Works for tcp and ipc; inproc has none.

    A closed connection shows as DISCONNECTED within about a millisecond of the kernel closing it.
    Its value equals ``frame.get(zmq.SRCFD)`` of the frames that came over it.
    """

    def __init__(self, socket: zmq.Socket[bytes], events: int = LIFE_EVENTS) -> None:
        self._watched = socket
        self._monitor = TrioSocket(socket.get_monitor_socket(events))
        #: `wait` has returned since the last look
        self._signalled = False

    def drain(self, *, look: bool = False) -> list[ConnectionEvent]:
        """All events so far, in order. Never blocks.

        Parameters
        ----------
        look
            Also for those that `wait` has not told of yet: it takes as long as to receive a frame.
        """
        if not self._signalled and not look:
            return []
        self._signalled = False
        events: list[ConnectionEvent] = []
        # to the last one: who looks may conclude something from what is not there
        while received := self._monitor.receive_nowait(_EVENTS_MAX):
            for parts in received:
                number, value = _MONITOR_HEAD.unpack(parts[0])
                events.append(ConnectionEvent(zmq.Event(number), value, bytes(parts[1])))
            if len(received) < _EVENTS_MAX:
                break
        return events

    async def wait(self, timeout_s: float = math.inf) -> None:
        """Return when there may be events. One task waits, so that no event is left unseen."""
        await self._monitor.wait(timeout_s)
        self._signalled = True

    def close(self) -> None:
        """Stop watching; the watched socket goes on."""
        if not self._watched.closed:
            self._watched.disable_monitor()
        # closed here and now, for a context does not end while one of its sockets is open
        self._monitor.close()


async def connection_events(
    socket: zmq.Socket[bytes], events: int = LIFE_EVENTS
) -> AsyncIterator[ConnectionEvent]:
    """Iterate over the connection events of `socket`, for ever. Use with `contextlib.aclosing`."""
    monitor = ConnectionMonitor(socket, events)
    try:
        while True:
            for event in monitor.drain():
                yield event
            await monitor.wait()
    finally:
        monitor.close()


def descriptor_of(frame: zmq.Frame) -> int | None:
    """Descriptor of the connection that `frame` came over; None if it has none (inproc)."""
    try:
        descriptor = int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return None
    return descriptor if descriptor >= 0 else None
