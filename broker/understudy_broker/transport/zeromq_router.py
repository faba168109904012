"""`RouterTransport`: the broker's end of its peers' connections, a ZeroMQ ROUTER.

A ROUTER names a peer by a routing id, and does not report when its connection closes; only a later
send to it fails. The socket's monitor reports a closed connection at once, but knows only its
*descriptor*, not its peer. So the transport notes which peer's frames came over which descriptor.
Descriptors are used again as soon as they are closed, hence two precautions: news of the monitor is
read before the descriptor of a new peer is noted, and a descriptor that is closed by then belongs
to a peer that has come and gone between two looks.

A ROUTER also counts frames, not bytes, in each peer's own pipe. Small frames are copied into the
pipe until it is full; then they wait in `SendQueues`, where bytes are counted. Large frames go
without a copy and are tracked, so that only some of them are in the pipe at a time.

What is not perfect: while strangers hold every descriptor, ZeroMQ's thread tries in vain to accept
the next connection, and keeps a processor busy. To stop listening is no way out, because a socket
that unbinds closes all its connections. So room is kept for refusals in words (`connections_max`),
and a connection that says nothing is closed soon (`HANDSHAKE_MS`, `connection_watch`).
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Collection
from functools import partial
from typing import Final

import trio
import zmq

from understudy_broker.address import DEFAULT_ADDRESS, host_name
from understudy_broker.errors import AddressInUseError, ListenError
from understudy_broker.transport.connection_watch import ConnectionWatch
from understudy_broker.transport.curve import MECHANISM_MISMATCH, SEAL_BYTES
from understudy_broker.transport.gate import Gate
from understudy_broker.transport.host_names import (
    UnknownHostError,
    is_ipv6,
    numeric_addresses,
)
from understudy_broker.transport.monitor import (
    ConnectionMonitor,
    address_of,
    descriptor_of,
    shut_down,
    silence_ms,
)
from understudy_broker.transport.send_queues import InFlightBytes, Put, SendQueues, Sent
from understudy_broker.transport.socket import Pause, TrioSocket
from understudy_broker.transport.transport import Received
from understudy_broker.transport.zap import Refusal
from understudy_store.limits import KIB, MIB

#: frames in one peer's pipe
PIPE_FRAMES_MAX: Final = 256
#: bytes of large frames in one peer's pipe
PIPE_BYTES_MAX: Final = 8 * MIB
#: bytes from which a frame is large
LARGE_BYTES_MIN: Final = 128 * KIB
#: how long a new connection may take until it has said what it is
HANDSHAKE_MS: Final = 10_000
#: how long the last frames may take to leave when the transport is closed
LINGER_MS: Final = 250


def bind_router(
    context: zmq.Context[zmq.Socket[bytes]],
    listen: str,
    frame_bytes_max: int,
    gate: Gate | None = None,
    ipc_mode: int = 0o600,
) -> zmq.Socket[bytes]:
    """Return a bound ROUTER with all its options set.

    Parameters
    ----------
    listen
        A ZeroMQ address; with port 0 the system chooses one. A host name stands for its first
        address, IPv4 before IPv6.
    frame_bytes_max
        Bytes of a frame that the broker takes.
    gate
        Decides who may connect; None: everybody may.
    ipc_mode
        The mode of the socket of an ``ipc`` address, for the users that its folder lets in.

    Raises
    ------
    ListenError
        The address is taken, is not this machine's, or is no address.
    """
    router: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
    router.set(zmq.LINGER, LINGER_MS)
    router.set(zmq.ROUTER_MANDATORY, 1)
    router.set(zmq.ROUTER_HANDOVER, 0)
    router.set(zmq.SNDHWM, PIPE_FRAMES_MAX)
    router.set(zmq.RCVHWM, PIPE_FRAMES_MAX)
    # More than the broker takes, because it refuses a frame beyond its bound with a message that
    # gives the reason, instead of closing the connection.
    router.set(zmq.MAXMSGSIZE, 2 * frame_bytes_max)
    router.set(zmq.TCP_KEEPALIVE, 1)
    router.set(zmq.TCP_KEEPALIVE_IDLE, 30)
    router.set(zmq.TCP_KEEPALIVE_INTVL, 10)
    router.set(zmq.TCP_KEEPALIVE_CNT, 3)
    router.set(zmq.BACKLOG, 1024)
    # A connection that says nothing takes a descriptor for no longer than this.
    router.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    try:
        if gate is not None:
            gate.guard(router)
        _bind(router, listen)
        if listen.startswith("ipc:///") and ipc_mode != 0o600:
            os.chmod(listen.removeprefix("ipc://"), ipc_mode)  # noqa: PTH101 - as ZeroMQ has it
    except BaseException:
        # A context does not end while one of its sockets is open.
        router.close(0)
        raise
    return router


def _bind(router: zmq.Socket[bytes], listen: str) -> None:
    address = listen
    if host_name(listen) is not None and not _is_interface(listen):
        try:
            address = numeric_addresses(listen)[0]
        except UnknownHostError as error:
            raise ListenError(
                f"cannot listen at {listen}: {error}. Use an address of this machine, or * for all"
            ) from None
    # Only where it is asked for, because a socket for both families shows other addresses.
    router.set(zmq.IPV6, int(is_ipv6(address)))
    # Whatever the user's own mask is, a socket in the file system is for the same user alone.
    umask = os.umask(0o077) if address.startswith("ipc:") else None
    try:
        router.bind(address)
    except zmq.ZMQError as error:
        kind = AddressInUseError if error.errno == errno.EADDRINUSE else ListenError
        raise kind(_listen_advice(listen, error)) from None
    finally:
        if umask is not None:
            os.umask(umask)


def _is_interface(listen: str) -> bool:
    """Return whether the host of an address is the name of a network interface, as ``eth0``."""
    return host_name(listen) in {name for _, name in socket.if_nameindex()}


def _listen_advice(listen: str, error: zmq.ZMQError) -> str:
    """Return what is wrong with an address, and what to do about it."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"the address {listen} is in use: another broker, or another program, listens there. "
            "Stop it, or choose another address"
        )
    if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
        return f"cannot listen at {listen}: this machine has no such address"
    if error.errno == errno.EACCES:
        return f"cannot listen at {listen}: permission denied"
    return f"cannot listen at {listen}: {error.strerror}. An address looks like {DEFAULT_ADDRESS}"


def _address_of(descriptors: dict[bytes, int], peer: bytes) -> str | None:
    """Return where a peer's connection comes from; None: it has closed, or is in this process."""
    descriptor = descriptors.get(peer)
    return None if descriptor is None else address_of(descriptor)


class RouterTransport:
    """A `Transport` over a bound ROUTER, which it takes over.

    Parameters
    ----------
    busy_poll_s
        How long to poll for a frame before sleeping, in pauses that are to be brief.
    frame_bytes_max
        Bytes of a frame that the broker takes.
    outgoing_bytes_max
        Bytes that wait for one peer; beyond, the peer is too slow.
    gate
        As the ROUTER has it; the transport closes it.
    """

    def __init__(
        self,
        router: zmq.Socket[bytes],
        *,
        busy_poll_s: float,
        frame_bytes_max: int,
        outgoing_bytes_max: int,
        gate: Gate | None = None,
    ) -> None:
        self._router = TrioSocket(router, busy_poll_s, joint=True)
        self._monitor = ConnectionMonitor(router)
        self._queues = SendQueues(self._try_send, outgoing_bytes_max)
        self._in_flight = InFlightBytes(PIPE_BYTES_MAX)
        self._address = router.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
        #: Connections within this process have no descriptors, and their closing is not reported.
        self._has_descriptors = not self._address.startswith("inproc")
        #: Peers by the descriptor of their connection, and the other way round. If a descriptor has
        #: several peers, all but the last have gone, and the monitor has not reported it yet.
        self._peers: dict[int, list[bytes]] = {}
        self._descriptors: dict[bytes, int] = {}
        self.peer_address = partial(_address_of, self._descriptors)
        self._gate = gate
        #: descriptors that no connection has any more
        self._closed: set[int] = set()
        seal_bytes = 0 if gate is None else SEAL_BYTES
        self._connections = ConnectionWatch(self._peers, 2 * frame_bytes_max, seal_bytes)

    @classmethod
    def listen(
        cls,
        context: zmq.Context[zmq.Socket[bytes]],
        address: str,
        *,
        frame_bytes_max: int,
        outgoing_bytes_max: int,
        busy_poll_s: float,
        gate: Gate | None = None,
        ipc_mode: int = 0o600,
    ) -> RouterTransport:
        """Bind a ROUTER, and return a transport over it; raises as `bind_router` does."""
        router: zmq.Socket[bytes] | None = None
        try:
            router = bind_router(context, address, frame_bytes_max, gate, ipc_mode)
            return cls(
                router,
                busy_poll_s=busy_poll_s,
                frame_bytes_max=frame_bytes_max,
                outgoing_bytes_max=outgoing_bytes_max,
                gate=gate,
            )
        except BaseException:
            # A context does not end while one of its sockets is open.
            if router is not None:
                router.close(0)
            if gate is not None:
                gate.close()
            raise

    @property
    def address(self) -> str:
        """The address at which peers connect, with the port that the system chose."""
        return self._address

    @property
    def connections(self) -> int:
        """The number of open connections, those of strangers included; 0 within a process."""
        return len(self._connections.open)

    @property
    def waits_for_descriptors(self) -> bool:
        """True if a pause may have other descriptors."""
        return self._router.waits_for_descriptors

    # Receiving -----------------------------------------------------------------------------------

    def receive(self) -> Received:
        """Read what has come, up to a bound."""
        received, is_complete = self._router.receive_routed_nowait()
        known = self._descriptors
        strangers: dict[bytes, zmq.Frame] = {}
        frames: list[tuple[bytes, bytes | memoryview]] = []
        for peer, frame in received:
            if frame is None:
                frames.append((peer, b""))
                continue
            frames.append((peer, frame.buffer))
            self._connections.brought(peer, len(frame))
            if peer not in known:
                strangers[peer] = frame
        if not self._has_descriptors:
            # Within a process there is no handshake, so nobody would be known by a key.
            return Received([], [] if self._gate is not None else frames, [], is_complete)
        if is_complete:
            self._connections.read_all()
        lost = self._read_monitor(force=bool(strangers))
        ended: list[bytes] = []
        for peer, frame in strangers.items():
            if self._is_closed(peer, frame):
                ended.append(peer)
                self._connections.lost(peer)
            elif self._gate is not None and not self._gate.admit(peer, frame):
                shut_down(self._descriptors[peer])
        if self._gate is not None:
            frames = [each for each in frames if each[0] in self._gate.admitted]
        return Received(lost, frames, ended, is_complete)

    def take_lost(self, flooding: Collection[bytes] = ()) -> list[bytes]:
        """Return the peers whose connection closed, without reading frames.

        Those of peers that flood the broker are ended, and reported later.
        """
        # Read first, because a descriptor may be another connection's by now.
        lost = self._read_monitor(force=bool(flooding)) if self._has_descriptors else []
        for descriptor in filter(None, map(self._descriptors.get, flooding)):
            shut_down(descriptor)
        return lost

    def _is_closed(self, peer: bytes, frame: zmq.Frame) -> bool:
        """Note the descriptor of a new peer; return whether its connection has closed already."""
        descriptor = descriptor_of(frame)
        if descriptor is None:
            return False
        if descriptor in self._closed:
            # The monitor has reported it, and will not do so again.
            return True
        # If the descriptor is noted as another peer's, that peer has gone, and the monitor will
        # report it: ZeroMQ takes frames of each peer in turn, so the new peer may be heard first.
        # A frame that is sent to the old peer meanwhile does not arrive anywhere.
        self._peers.setdefault(descriptor, []).append(peer)
        self._descriptors[peer] = descriptor
        return False

    def identity(self, peer: bytes) -> str | None:
        """Return whose connection a peer's is; None: nobody asks for keys here."""
        holder = None if self._gate is None else self._gate.admitted.get(peer)
        return None if holder is None else holder.identity

    def take_refusals(self) -> list[Refusal]:
        """Return the connections that were refused since the last call, for the log."""
        return [] if self._gate is None else self._gate.take_refusals()

    def cut_revoked(self) -> list[bytes]:
        """End the connections whose keys are no longer permitted; return their peers.

        No frame of theirs is delivered from now on.
        """
        revoked = [] if self._gate is None else self._gate.expel_revoked()
        for peer in revoked:
            descriptor = self._descriptors.get(peer)
            if descriptor is not None:
                shut_down(descriptor)
        return revoked

    def _read_monitor(self, *, force: bool) -> list[bytes]:
        """Return the peers whose connection closed, and drop what waits for them."""
        lost: list[bytes] = []
        for event in self._monitor.drain(force=force):
            if event.event == zmq.Event.DISCONNECTED:
                self._closed.add(event.value)
                self._connections.closed(event.value)
                for peer in self._peers.pop(event.value, ()):
                    self._descriptors.pop(peer, None)
                    if self._gate is not None:
                        self._gate.forget(peer)
                    self._drop(peer)
                    self._connections.lost(peer)
                    lost.append(peer)
            elif event.event == zmq.Event.ACCEPTED:
                self._closed.discard(event.value)
                self._connections.opened(event.value)
            elif event.event == zmq.Event.ACCEPT_FAILED:
                self._connections.refused(event.value)
            elif event.event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL and self._gate is not None:
                has_none = event.value == MECHANISM_MISMATCH
                why = "it has no key" if has_none else "it has another key of the broker, or none"
                self._gate.refuse(Refusal(why))
        return lost

    def silence_ms(self, peer: bytes) -> int | None:
        """Return how long no data has come from a peer; None if the system does not tell."""
        descriptor = self._descriptors.get(peer)
        return None if descriptor is None else silence_ms(descriptor)

    # Sending -------------------------------------------------------------------------------------

    @property
    def has_waiting(self) -> bool:
        """True if frames wait for peers that do not take them."""
        return self._queues.has_frames

    def is_waiting(self, peer: bytes) -> bool:
        """Return whether frames wait for a peer."""
        return self._queues.has_frames_for(peer)

    def send(self, peer: bytes, frame: bytes) -> Put:
        """Send a frame, or let it wait behind those that wait for the same peer."""
        put = self._queues.put(peer, frame)
        if put == "slow" or put == "gone":
            self._drop(peer)
        return put

    def flush(self) -> list[bytes]:
        """Send waiting frames where that is possible; return the peers that are gone."""
        gone = self._queues.flush()
        for peer in gone:
            self._drop(peer)
        return gone

    def _try_send(self, peer: bytes, frame: bytes) -> Sent:
        """Put a frame into the pipe of its peer, if there is room."""
        try:
            if len(frame) < LARGE_BYTES_MIN:
                return "sent" if self._router.send_nowait([peer, frame]) else "full"
            if self._in_flight.full(peer):
                return "full"
            tracker = self._router.send_tracked_nowait([peer, frame])
            if tracker is None:
                return "full"
            self._in_flight.put(peer, tracker, len(frame))
            return "sent"
        except zmq.ZMQError as error:
            if error.errno == errno.EHOSTUNREACH:
                return "gone"
            raise

    def _drop(self, peer: bytes) -> None:
        self._queues.drop(peer)
        self._in_flight.drop(peer)

    # Waiting -------------------------------------------------------------------------------------

    async def drive(self, turn: Callable[[], Pause | None]) -> None:
        """Call `turn` again after each pause that it returned, until it returns None."""
        await self._router.drive(turn)

    async def wait(self, timeout_s: float) -> None:
        """Return at `wake`, or after `timeout_s`; frames are not waited for."""
        await self._router.wait(timeout_s, events=0)

    async def watch(self) -> None:
        """End a pause whenever the monitor has news; runs in a task beside `drive`, for ever."""
        async with trio.open_nursery() as nursery:
            if self._gate is not None:
                nursery.start_soon(self._gate.run, self._router.wake)
            while True:
                await self._monitor.wait()
                self._router.wake()
                # Let the loop read the monitor before this looks again.
                await trio.lowlevel.checkpoint()

    async def guard(self, is_known: Callable[[bytes], bool], tell: Callable[[str], None]) -> None:
        """Cut connections that are of no use; runs in a task beside `drive`, for ever."""
        await self._connections.run(self._router.wake, is_known, tell)

    def wake(self) -> None:
        """End the pause of `drive`; to be called on the loop's thread."""
        self._router.wake()

    def close(self) -> None:
        """Close the socket, after what was sent has left or `LINGER_MS` have passed."""
        self._monitor.close()
        self._router.close(LINGER_MS)
        if self._gate is not None:
            self._gate.close()
