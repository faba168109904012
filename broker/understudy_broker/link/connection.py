"""`LinkConnection`: a peer's connection to its broker, kept up for as long as the peer lives.

It owns the socket and carries a `LinkSession`: it connects, says hello, sends what the session has
to send, passes what arrives to it, and connects again whenever the connection breaks. Each
connection has a socket of its own, so a new session never begins with frames of the old one in a
queue.

All of it belongs to one trio loop. Another thread that holds the loop's `LoopLock` may call `cork`,
`uncork` and `wake`, and `poll` acquires that lock itself. What needs trio's own objects, such as an
event, then goes to the loop through its `LoopThread`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from time import monotonic_ns
from typing import Final, TypeAlias

import trio
import zmq

from understudy_broker.address import DEFAULT_ADDRESS
from understudy_broker.errors import LinkError, ProtocolMismatchError
from understudy_broker.keys.peer_keys import BROKER_KEY_ENV, KEY_ENV, PeerKeys
from understudy_broker.link.pulse import Pulse
from understudy_broker.link.session import LinkSession
from understudy_broker.link.way import DIRECT, Way
from understudy_broker.protocol.frames import FrameError, decode_to_peer, version_of
from understudy_broker.protocol.messages import PROTOCOL_VERSION, Bye, Hello, ToPeer, Welcome
from understudy_broker.transport.curve import MECHANISM_MISMATCH, as_client
from understudy_broker.transport.host_names import Destination, UnknownHostError, is_ipv6
from understudy_broker.transport.loop_lock import LoopLock, LoopThread
from understudy_broker.transport.monitor import ConnectionEvent, ConnectionMonitor
from understudy_broker.transport.socket import Pause, TrioSocket

HelloFactory: TypeAlias = Callable[[], Hello]
OnMessages: TypeAlias = Callable[[list[ToPeer]], None]

#: the first and the longest wait between two attempts to connect
BACKOFF_S: Final = (0.05, 1.0)
#: the wait before frames that did not fit into the pipe are sent again
RETRY_FULL_S: Final = 0.02
#: frames in the pipe to the broker; the rest waits here, as unanswered requests
PIPE_FRAMES_MAX: Final = 1_024
#: how long to wait until the goodbye is sent, and until the broker has answered it
BYE_LINGER_MS: Final = 250
BYE_WAIT_S: Final = 0.25
#: how long a worker whose poll succeeded waits for the lock, if the loop is awake
LOCK_WAIT_S: Final = 0.05
#: how long one of the addresses of a host name may take to answer before the next one is tried
CONNECT_MS: Final = 3_000
#: divides `monotonic_ns`; written out at each place, because a function would cost a call per frame
_NS_PER_MS: Final = 1_000_000
#: Of its own, because this may run in a thread of a program that relies on `random` and its seed.
_CHANCE: Final = random.Random()
_FAILED_HANDSHAKES: Final = frozenset(
    {
        zmq.Event.HANDSHAKE_FAILED_AUTH,
        zmq.Event.HANDSHAKE_FAILED_PROTOCOL,
        zmq.Event.HANDSHAKE_FAILED_NO_DETAIL,
    }
)


class LinkConnection:
    """The connection that carries a session, on the trio loop that creates it.

    Parameters
    ----------
    url
        The broker's address; or several with commas between them, of which any will do.
    session
        The session to carry.
    hello_factory, on_messages, on_connected, on_disconnected, leaves
        As in `open_link`.
    context
        The ZeroMQ context for the sockets.
    way
        How to reach the address.

    Attributes
    ----------
    loop
        The thread that owns the connection.
    socket
        The present socket; None between two connections.
    corked
        True between `cork` and `uncork`.
    closed
        True once `run` has ended.
    rejoining
        True while this peer itself replaces the connection by a new one: nothing is wrong then.
    """

    def __init__(
        self,
        url: str,
        session: LinkSession,
        hello_factory: HelloFactory,
        on_messages: OnMessages,
        *,
        context: zmq.Context[zmq.Socket[bytes]],
        on_connected: Callable[[Welcome], None] | None = None,
        on_disconnected: Callable[[str], None] | None = None,
        leaves: Callable[[], bool] = lambda: True,
        way: Way = DIRECT,
    ) -> None:
        self.url = url
        self._closed_text = f"the connection to {url} closed"
        self._way, self._keys = way, way.keys
        self.session = session
        self.loop = LoopThread()
        self.socket: TrioSocket | None = None
        self.corked = self.closed = False
        self._hello_factory = hello_factory
        self._on_messages = on_messages
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected
        self._leaves = leaves
        self._context = context
        self._destination = Destination(way.entrance(url))
        #: set at the next change; None while nobody waits for one
        self._changed: trio.Event | None = None
        #: frames that did not fit into the pipe
        self._unsent: list[bytes] = []
        #: when the loop continues by itself
        self._due_at = 0
        #: whether the hello of this connection was sent, and answered
        self._greeted = self._welcomed = False
        self.rejoining = False
        #: what shows the broker that this process lives, if it is a node
        self._pulse: Pulse | None = None
        self._is_node = False
        #: why the handshake failed, if the last one did and the reason is known
        self._refusal: str | None = None
        #: True during the goodbye, when nobody takes messages any more
        self._leaving = False

    # Sending -------------------------------------------------------------------------------------

    def cork(self) -> None:
        """Hold messages back until `uncork`, so that they travel in one frame."""
        self.corked = True

    def uncork(self) -> None:
        """Send at once what was held back, on this thread, without waking the loop."""
        self.corked = False
        socket, session = self.socket, self.session
        if socket is None or not session.connected:
            return
        if not self._unsent:
            if not session.outgoing:
                return
            self._send(socket, monotonic_ns() // _NS_PER_MS)
        heartbeat = session.heartbeat
        if self._unsent or min(heartbeat.due_at, heartbeat.silent_at) < self._due_at:
            # The loop must continue sooner than it knows.
            socket.wake()

    def wake(self) -> None:
        """Make the loop send soon what there is, unless corked."""
        if self.socket is not None and not self.corked:
            self.socket.wake()

    def rejoin(self) -> None:
        """Replace the connection by a new one at once, with a new hello."""
        self.rejoining = True
        self.session.rejoin()
        # Even while corked, because `uncork` would not do it.
        if self.socket is not None:
            self.socket.wake()

    def _send(self, socket: TrioSocket, now: int) -> None:
        """Send what there is, as far as the pipe has room."""
        frames = self._unsent or self.session.take_frames(now)
        self._unsent = []
        for count, frame in enumerate(frames):
            if not socket.send_nowait([frame]):
                self._unsent = frames[count:]
                return

    def aim_at(self, url: str) -> None:
        """Connect to this address from the next connection on."""
        if url != self.url:
            self.url = url
            self._destination = Destination(self._way.entrance(url))

    # Changes -------------------------------------------------------------------------------------

    async def wait_for_change(self) -> None:
        """Return after the next frame, or the next change of the connection's state."""
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def _notify(self) -> None:
        changed = self._changed
        if changed is not None:
            self._changed = None
            self.loop.run(changed.set)

    # Polling on another thread -------------------------------------------------------------------

    def poll(self, loop_lock: LoopLock, timeout_s: float, on_polled: Callable[[], None]) -> bool:
        """Poll the socket on the calling thread, and process what arrives, while the loop sleeps.

        One thread at a time may call this, and it must not hold the lock. See `polling`.

        Parameters
        ----------
        loop_lock
            The lock of the loop. It is held while messages are processed.
        timeout_s
            How long to poll at most. `interrupt` ends it early.
        on_polled
            Called when the polling is over, before the lock is acquired.

        Returns
        -------
        bool
            True if something arrived and was processed. Otherwise the loop will process it.
        """
        socket = self.socket
        if socket is None or socket.handoff is None or not self.session.connected:
            return False
        if not socket.handoff.take_over():
            return False
        try:
            arrived = socket.handoff.poll(timeout_s)
            on_polled()
            if not arrived or not loop_lock.acquire(LOCK_WAIT_S):
                return False
            try:
                return self._receive_with_lock(socket)
            finally:
                loop_lock.release()
        finally:
            socket.handoff.hand_back()

    def interrupt(self) -> None:
        """Make the thread in `poll` return."""
        socket = self.socket
        if socket is not None and socket.handoff is not None:
            socket.handoff.interrupt()

    def _receive_with_lock(self, socket: TrioSocket) -> bool:
        # The socket may have been replaced while this thread polled it.
        if self.socket is not socket or not self.session.connected or self._leaving:
            return False
        session, now = self.session, monotonic_ns() // _NS_PER_MS
        self.corked = True
        try:
            self._receive(socket, now)
        finally:
            self.uncork()
        if session.failure is not None or session.is_broken(now) or socket.has_unread:
            socket.wake()
        return True

    # The connection's life -----------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the connection up until canceled, or until the broker refuses it for good."""
        backoff = _Backoff()
        try:
            while True:
                began = trio.current_time()
                self._welcomed = self.rejoining = False
                await self._connect_once()
                if self.session.failure is not None:
                    raise self.session.failure
                lasted_s = trio.current_time() - began
                if self.rejoining or (self._welcomed and lasted_s >= BACKOFF_S[1]):
                    # It worked until now. Reconnect at once, before the broker gives the tasks of
                    # this peer to others.
                    backoff = _Backoff()
                    await trio.lowlevel.checkpoint()
                else:
                    await trio.sleep(backoff.next_s())
        finally:
            self.closed = True
            self._notify()

    async def _connect_once(self) -> None:
        """Open a socket, and use it until its connection is lost."""
        try:
            address = await self._destination.next()
        except UnknownHostError as error:
            self.session.last_error = f"{error}: check the address {self.url}"
            self._notify()
            return
        socket = _new_socket(self._context, address, self._destination.has_others)
        as_client(socket, self._keys)
        self._unsent, self._greeted, self._refusal = [], False, None
        linger_ms = 0
        with TrioSocket(socket, shared=True) as self.socket:
            monitor = ConnectionMonitor(socket)
            try:
                _connect(socket, self.url, address, self.session)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_wake_at_events, monitor, self.socket)
                    self._pulse = Pulse(self._context, address, self._keys)
                    nursery.start_soon(self._pulse.keep)
                    await self._use(self.socket, monitor)
                    nursery.cancel_scope.cancel()
            # A group, because all tasks of the nursery are canceled together.
            except* trio.Cancelled:
                self._leaving = True
                self.interrupt()
                linger_ms = self._say_bye(self.socket)
                if linger_ms:
                    await _wait_for_bye(self.session, self.socket)
                raise
            finally:
                monitor.close()
                socket.set(zmq.LINGER, linger_ms)
                self.socket.close(linger_ms)
                self.socket = None
                if self._welcomed:
                    self._destination.keep(address)
                self._disconnected()

    def _say_bye(self, socket: TrioSocket) -> int:
        """Send the last frame, and return how long to wait for it to leave."""
        if not self.session.connected or not self._leaves():
            return 0
        self.session.send(Bye())
        self._send(socket, monotonic_ns() // _NS_PER_MS)
        return BYE_LINGER_MS

    def _disconnected(self) -> None:
        rejoins = f"this process joins the broker at {self.url} anew" if self.rejoining else None
        reason = self.session.last_error or rejoins or self._closed_text
        if self.session.close(reason) and self._on_disconnected is not None:
            self._on_disconnected(reason)
        if reason == rejoins:
            self.session.last_error = None  # If the broker does not answer, that is not why.
        self._notify()

    # While connected -----------------------------------------------------------------------------

    async def _use(self, socket: TrioSocket, monitor: ConnectionMonitor) -> None:
        """Use one socket, from its handshake until the connection is lost."""
        if self.url.startswith("inproc:"):
            # There is no handshake, and no monitor that reports one.
            self._greet(socket)
        await socket.drive(lambda: self._step(socket, monitor))

    def _step(self, socket: TrioSocket, monitor: ConnectionMonitor) -> Pause | None:
        """Process what arrived and send what there is; return None if the connection is lost."""
        session, now = self.session, monotonic_ns() // _NS_PER_MS
        for event in monitor.drain():
            if event.event == zmq.Event.HANDSHAKE_SUCCEEDED and not self._greeted:
                self._refusal = None
                self._greet(socket)
            elif event.event in _FAILED_HANDSHAKES:
                self._refusal = _refusal_text(event, self.url, self._keys) or self._refusal
                self._keys = _keys_after(event, self._keys)
            elif event.event == zmq.Event.DISCONNECTED:
                session.last_error = self._way.obstacle or self._refusal or self._closed_text
                self._receive(socket, now)
                return None
            elif event.event == zmq.Event.CONNECT_RETRIED and not self._greeted:
                nobody = f"no broker answers at {self.url}"
                session.last_error = self._way.obstacle or self._refusal or nobody
                self._notify()
                if self._destination.has_others:
                    return None
        # Corked, because `_send` below sends what is requested meanwhile.
        self.corked = True
        try:
            self._receive(socket, now)
        finally:
            self.corked = False
        if session.failure is not None or (self._greeted and session.is_broken(now)):
            if not session.last_error and not self.rejoining:
                session.last_error = f"the broker at {self.url} is silent"
            return None
        self._send(socket, now)
        timeout_s = self._timeout_s(now)
        self._due_at = now + int(timeout_s * 1000)
        return Pause(timeout_s)

    def _timeout_s(self, now: int) -> float:
        if self._unsent:
            return RETRY_FULL_S
        return max(0, self.session.next_due() - now) / 1000 if self._greeted else 3600.0

    def _greet(self, socket: TrioSocket) -> None:
        self._greeted = True
        now = monotonic_ns() // _NS_PER_MS
        hello = self._hello_factory()
        self._is_node = hello.kind == "node"
        self._unsent.append(self.session.open(hello, now))
        self._send(socket, now)

    def _receive(self, socket: TrioSocket, now: int) -> None:
        session = self.session
        for parts in socket.receive_nowait():
            frame = parts[-1]
            if not session.accepts(frame):
                continue
            try:
                messages = decode_to_peer(frame)
            except FrameError as error:
                _note_no_frame(session, self.url, frame, error)
                continue
            rest: list[ToPeer] = []
            for message in session.receive(messages, now):
                if type(message) is Welcome:
                    self._welcomed = True
                    if self._is_node and self._pulse is not None:
                        self._pulse.start(message.pid, message.lease_ttl_ms)
                    if self._on_connected is not None:
                        self._on_connected(message)
                else:
                    rest.append(message)
            if rest:
                self._on_messages(rest)
            if self._changed is not None:
                self._notify()


async def _wait_for_bye(session: LinkSession, socket: TrioSocket) -> None:
    """Wait for the broker's goodbye, because to close without it looks like a crash."""
    with trio.move_on_after(BYE_WAIT_S, shield=True):
        while not session.broker_left:
            for parts in socket.receive_nowait():
                with suppress(FrameError):
                    if session.accepts(parts[-1]):
                        session.receive(decode_to_peer(parts[-1]), monotonic_ns() // _NS_PER_MS)
            if not session.broker_left:
                await socket.wait()


async def _wake_at_events(monitor: ConnectionMonitor, socket: TrioSocket) -> None:
    while True:
        await monitor.wait()
        socket.wake()
        await trio.lowlevel.checkpoint()


def _new_socket(
    context: zmq.Context[zmq.Socket[bytes]], address: str, is_one_of_several: bool
) -> zmq.Socket[bytes]:
    """Return a socket for one connection to a numeric address."""
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    socket.set(zmq.LINGER, 0)
    socket.set(zmq.SNDHWM, PIPE_FRAMES_MAX)
    socket.set(zmq.RCVHWM, PIPE_FRAMES_MAX)
    socket.set(zmq.RECONNECT_IVL, 50)
    socket.set(zmq.RECONNECT_IVL_MAX, 250)
    socket.set(zmq.TCP_KEEPALIVE, 1)
    socket.set(zmq.IPV6, int(is_ipv6(address)))
    if is_one_of_several:
        socket.set(zmq.CONNECT_TIMEOUT, CONNECT_MS)
    return socket


def _keys_after(event: ConnectionEvent, keys: PeerKeys | None) -> PeerKeys | None:
    """Return the keys that the next handshake is tried with, after one that has failed."""
    if keys is None:
        return None
    return keys.after_refusal(knows_broker=event.event == zmq.Event.HANDSHAKE_FAILED_AUTH)


def _refusal_text(event: ConnectionEvent, url: str, keys: PeerKeys | None) -> str | None:
    """Return in words why a handshake failed; None if that has nothing to do with keys."""
    if event.event == zmq.Event.HANDSHAKE_FAILED_AUTH and keys is not None:
        name = f" ({keys.pair.name})" if keys.pair.name else ""
        return (
            f"the broker at {url} does not take the key of this process{name}, {keys.pair.public}: "
            "it does not know it, or the key has expired or was revoked"
        )
    if event.event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL and event.value == MECHANISM_MISMATCH:
        if keys is None:
            return (
                f"the broker at {url} asks for keys, and this process has none: name them in "
                f"{KEY_ENV} and {BROKER_KEY_ENV}"
            )
        return (
            f"the broker at {url} has no keys, and this process has: so it may be another broker "
            f"than the one that is meant. Give it keys, or unset {KEY_ENV} and {BROKER_KEY_ENV}"
        )
    if event.event == zmq.Event.HANDSHAKE_FAILED_NO_DETAIL:
        if keys is None:
            # A broker that asks for keys may have closed the connection before this end saw that.
            return (
                f"the connection to {url} closed during the handshake: the broker may ask for "
                f"keys, which this process has none of ({KEY_ENV} and {BROKER_KEY_ENV})"
            )
        # A broker without keys may have closed the connection before this end saw that.
        return (
            f"the broker at {url} does not answer to the key in {BROKER_KEY_ENV}, {keys.broker}: "
            "most often that is the key of another broker, or the broker has no keys"
        )
    return None


def _note_no_frame(
    session: LinkSession, url: str, frame: bytes | memoryview, error: FrameError
) -> None:
    """Note what a broker has sent; one of another version ends the link for good."""
    session.last_error = f"the broker at {url} sent what is no frame: {error}"
    if error.status == 426:
        text = (
            f"the broker at {url} speaks protocol version {version_of(frame)}, and this program "
            f"version {PROTOCOL_VERSION}: install the same version of understudy on both sides"
        )
        session.fail(ProtocolMismatchError(text))


def _connect(socket: zmq.Socket[bytes], url: str, address: str, session: LinkSession) -> None:
    """Begin to connect; an address that ZeroMQ does not take ends the link for good."""
    try:
        socket.connect(address)
    except zmq.ZMQError as error:
        text = f"{url!r} is no address of a broker ({error.strerror})"
        failure = LinkError(f"{text}: it looks like {DEFAULT_ADDRESS}")
        session.fail(failure)
        raise failure from None


class _Backoff:
    """The waits between attempts to connect: each twice as long as the one before."""

    def __init__(self) -> None:
        self._wait_s = BACKOFF_S[0]

    def next_s(self) -> float:
        """Return the next wait. Many peers may lose one broker together; chance spreads them."""
        wait_s, self._wait_s = self._wait_s, min(2 * self._wait_s, BACKOFF_S[1])
        return wait_s * _CHANCE.uniform(0.5, 1.0)
