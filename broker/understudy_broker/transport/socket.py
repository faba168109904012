"""`TrioSocket`: a ZeroMQ socket under trio.

A ZeroMQ socket's descriptor is edge-triggered: it becomes readable when the socket's mailbox has
something to process, and any call on the socket processes it. So a send may reset the descriptor
that a reader waits for. Two rules follow, and this module keeps them: EVENTS is read again before
every wait and after every send, and a send that finds something to read wakes the reader itself.

One task owns a socket. It waits in `wait` or `drive`, and `wake` makes it go on. If the socket is
shared, another thread may poll in the task's place (`handoff`; see `polling`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import trio
import zmq

from understudy_broker.transport.loop_lock import LoopThread
from understudy_broker.transport.polling import BusyPoll, joint_poll_for, poll_handoff_for

# Plain numbers, because an operation on an enum costs as much as the system call it is for.
#: an event of a pause: something can be received
POLLIN: Final = int(zmq.POLLIN)
_EVENTS: Final = int(zmq.EVENTS)
_NOBLOCK: Final = int(zmq.NOBLOCK)
_RCVMORE: Final = int(zmq.RCVMORE)
_MORE_NOBLOCK: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
#: How long other tasks of the loop may wait while busy polling finds one message after the other.
#: Running them takes 20 µs, even if they have nothing to do.
_OTHER_TASKS_WAIT_S: Final = 0.002


class Pause(NamedTuple):
    """A wait until something can be received, or one of `events` occurs, or `timeout_s` is over.

    `brief` says that the wait will probably be short and that no other thread calls `wake`
    meanwhile; then busy polling is allowed. `descriptors` are more that end the pause when one of
    them becomes readable, where `waits_for_descriptors` holds.
    """

    timeout_s: float = math.inf
    events: int = POLLIN
    brief: bool = False
    descriptors: tuple[int, ...] = ()


class TrioSocket:
    """A ZeroMQ socket for one trio task.

    Parameters
    ----------
    socket
        The socket, which may be bound or connected later. `close` closes it.
    busy_poll_s
        How long to poll without sleeping in a pause that is brief; 0 for never.
    shared
        Whether another thread may poll in the task's place, if the system supports that.
    joint
        Whether pauses may have other descriptors, if the system supports that.

    Attributes
    ----------
    handoff
        Passes the polling to another thread; None if the task always polls itself.
    has_unread
        True if the last `receive_nowait` stopped at its bound. The descriptor may be reset by then,
        so the receiver must come back, or wake the task.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        busy_poll_s: float = 0.0,
        *,
        shared: bool = False,
        joint: bool = False,
    ) -> None:
        self.socket = socket
        #: bound once, because each message takes several calls; every option read here is a number
        self._get: Callable[[int], int] = socket.get  # type: ignore[assignment]  # may be bytes
        fd = int(socket.get(zmq.FD))
        self.handoff = poll_handoff_for(fd) if shared else None
        self.has_unread = False
        #: the descriptor that the task waits for
        self._fd = fd if self.handoff is None else self.handoff.loop_fd
        self._busy_poll = BusyPoll(fd, busy_poll_s)
        self._joint_poll = joint_poll_for(self._fd) if joint else None
        self._joint_busy_poll: BusyPoll | None = None
        if self._joint_poll is not None:
            self._joint_busy_poll = BusyPoll(self._joint_poll.fd, busy_poll_s)
        #: set when the owning task pauses for the first time
        self._loop: LoopThread | None = None
        self._waiting: trio.CancelScope | None = None
        self._woken = False
        #: when the loop's other tasks last had their chance to run
        self._yielded_at = -math.inf

    def __enter__(self) -> TrioSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, linger_ms: int = 0) -> None:
        """Close the socket. Frames that are not sent within `linger_ms` are dropped."""
        if not self.socket.closed:
            if self._joint_poll is not None:
                self._joint_poll.close()
            if self.handoff is not None:
                self.handoff.close()
            self.socket.close(linger_ms)
        self.wake()

    @property
    def waits_for_descriptors(self) -> bool:
        """True if a pause may have other descriptors."""
        return self._joint_poll is not None

    def wake(self) -> None:
        """Make the task in `wait` go on, or else its next `wait` return at once.

        Any thread that holds the loop's `LoopLock` may call this.
        """
        if self._loop is not None and not self._loop.is_current:
            self._loop.run_soon(self.wake, idempotent=True)
            return
        self._woken = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def wait(self, timeout_s: float = math.inf, *, events: int = POLLIN) -> None:
        """Return when something can be received, when woken, or after `timeout_s`.

        Always a checkpoint. It may return early, so callers check for themselves.
        """
        with trio.CancelScope() as scope:
            await self._pause(scope, Pause(timeout_s, events))

    async def drive(self, step: Callable[[], Pause | None]) -> None:
        """Call `step` again after each pause that it returned, until it returns None.

        For tasks that do nothing else but `wait` in a loop. It keeps one cancel scope until
        something cancels it, because making a scope costs more than the waiting.
        """
        while True:
            with trio.CancelScope() as scope:
                while (pause := step()) is not None:
                    await self._pause(scope, pause)
                return

    async def _pause(self, scope: trio.CancelScope, pause: Pause) -> None:
        if self._waiting is not None:
            raise RuntimeError(
                "a socket is owned by one task, but another task is already waiting: call wake() "
                "to let that task continue"
            )
        if self._loop is None:
            self._loop = LoopThread()
        if self._woken or pause.timeout_s <= 0 or self._get(_EVENTS) & pause.events:
            self._woken = False
            await trio.lowlevel.checkpoint()
            return
        began = trio.current_time()
        fd, busy_poll = self._fd, self._busy_poll
        if pause.descriptors:
            assert self._joint_poll is not None
            assert self._joint_busy_poll is not None
            fd, busy_poll = self._joint_poll.fd, self._joint_busy_poll
            self._joint_poll.join(pause.descriptors)
        if pause.brief and busy_poll.poll(pause.timeout_s):
            if began - self._yielded_at > _OTHER_TASKS_WAIT_S:
                self._yielded_at = began
                await trio.lowlevel.checkpoint()
            return
        until = began + pause.timeout_s
        if until < scope.deadline:
            # An earlier deadline stays when the next pause is longer: that pause ends too early,
            # once, which is cheaper than moving the deadline each time.
            scope.deadline = until
        self._waiting = scope
        try:
            await trio.lowlevel.wait_readable(fd)
        finally:
            self._waiting = None
            self._woken = False
            if pause.brief and (now := trio.current_time()) < until:
                busy_poll.record_sleep(now - began)

    def receive_nowait(self, frames_max: int = 1024, bytes_max: int = 1 << 26) -> list[list[bytes]]:
        """Receive what has arrived, up to a bound, as lists of parts. Never blocks."""
        received: list[list[bytes]] = []
        size = 0
        receive, get = self.socket.recv, self._get
        self.has_unread = False
        try:
            while len(received) < frames_max and size < bytes_max:
                parts = [receive(_NOBLOCK)]
                received.append(parts)
                while get(_RCVMORE):
                    parts.append(receive(_NOBLOCK))
                size += len(parts[-1])
                # Most often there is one frame. Reading EVENTS is cheaper than a `recv` that fails.
                if len(received) == 1 and not get(_EVENTS) & POLLIN:
                    break
            else:
                self.has_unread = True
        except zmq.Again:
            pass
        return received

    def receive_routed_nowait(
        self, frames_max: int = 1024, bytes_max: int = 1 << 26
    ) -> tuple[list[tuple[bytes, zmq.Frame | None]], bool]:
        """Receive what has arrived at a ROUTER, up to a bound. Never blocks.

        Returns
        -------
        tuple
            Pairs of a peer and its frame, which is not copied and knows its connection
            (`descriptor_of`); None stands for a message that has not exactly one part. And True if
            nothing is left.
        """
        received: list[tuple[bytes, zmq.Frame | None]] = []
        size = 0
        receive, get = self.socket.recv, self._get
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
                if len(received) == 1 and not get(_EVENTS) & POLLIN:
                    return received, True
        except zmq.Again:
            return received, True
        return received, False

    def send_nowait(self, parts: list[bytes]) -> bool:
        """Send, or return False if the socket (or a ROUTER's peer) cannot take it now.

        Raises
        ------
        zmq.ZMQError
            For example EHOSTUNREACH, from a ROUTER with ROUTER_MANDATORY whose peer is gone.
        """
        send = self.socket.send
        try:
            for part in parts[:-1]:
                send(part, _MORE_NOBLOCK)
            send(parts[-1], _NOBLOCK)
            sent = True
        except zmq.Again:
            # Only the first part can fail: once it is taken, all of them are.
            sent = False
        # The send may have reset the descriptor that the task waits for.
        if self._waiting is not None and self._get(_EVENTS) & POLLIN:
            self.wake()
        return sent

    def send_tracked_nowait(self, parts: list[bytes]) -> zmq.MessageTracker | None:
        """Send without a copy, or return None if that cannot be taken now.

        The tracker is done when the last part has left for the peer, provided that it is large
        (``zmq.COPY_THRESHOLD``); smaller ones are copied.
        """
        try:
            tracker = self.socket.send_multipart(parts, _NOBLOCK, copy=False, track=True)
        except zmq.Again:
            tracker = None
        if self._waiting is not None and self._get(_EVENTS) & POLLIN:
            self.wake()
        return tracker
