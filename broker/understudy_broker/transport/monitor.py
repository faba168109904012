"""Connections of a ZeroMQ socket as they come and go: `ConnectionMonitor`."""

from __future__ import annotations

import math
import socket as sockets
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import zmq

from understudy_broker.transport.socket import TrioSocket

#: the events that tell whether a connection lives
LIFE_EVENTS: Final = (
    zmq.Event.ACCEPTED
    | zmq.Event.ACCEPT_FAILED
    | zmq.Event.HANDSHAKE_SUCCEEDED
    | zmq.Event.DISCONNECTED
    | zmq.Event.CONNECT_RETRIED
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
    | zmq.Event.CLOSED
)
#: The first part of a monitor's message: 16 bits event, 32 bits value. It is decoded here, because
#: importing pyzmq's own decoder would import asyncio.
_MESSAGE_HEAD: Final = struct.Struct("=Hi")
#: where Linux's `struct tcp_info` has `tcpi_last_data_recv`, 4 bytes, and `tcpi_bytes_received`, 8
_SILENCE_AT: Final = 8 + 11 * 4
_RECEIVED_AT: Final = 8 + 24 * 4 + 3 * 8
_TCP_INFO_BYTES: Final = _RECEIVED_AT + 8
#: events received at a time
_EVENTS_MAX: Final = 1024


class ConnectionEvent(NamedTuple):
    """An event of one connection.

    `value` is the connection's descriptor, or a number that depends on the event (see
    ``zmq_socket_monitor``).
    """

    event: zmq.Event
    value: int
    endpoint: bytes


class ConnectionMonitor:
    """Reports the connections of a socket. Works for tcp and ipc; inproc has none.

    A closed connection shows as DISCONNECTED within about a millisecond of the kernel closing it.
    Its value equals `descriptor_of` the frames that came over it.

    Parameters
    ----------
    socket
        The socket to watch. It stays open when the monitor is closed.
    events
        The events to report, as a mask.
    """

    def __init__(self, socket: zmq.Socket[bytes], events: int = LIFE_EVENTS) -> None:
        self._watched = socket
        self._monitor = TrioSocket(socket.get_monitor_socket(events))
        #: True if `wait` has returned since the last `drain`
        self._signaled = False

    def drain(self, *, force: bool = False) -> list[ConnectionEvent]:
        """Return all events so far, in order. Never blocks.

        Parameters
        ----------
        force
            Read even if `wait` has not returned since the last call. By default nothing is read
            then, because a read costs as much as receiving a frame.
        """
        if not self._signaled and not force:
            return []
        self._signaled = False
        events: list[ConnectionEvent] = []
        # All of them, because a caller may conclude something from an event that is missing.
        while received := self._monitor.receive_nowait(_EVENTS_MAX):
            for parts in received:
                number, value = _MESSAGE_HEAD.unpack(parts[0])
                events.append(ConnectionEvent(zmq.Event(number), value, bytes(parts[1])))
            if len(received) < _EVENTS_MAX:
                break
        return events

    async def wait(self, timeout_s: float = math.inf) -> None:
        """Return when there may be events. One task must always wait, so that none is missed."""
        await self._monitor.wait(timeout_s)
        self._signaled = True

    def close(self) -> None:
        """Stop monitoring."""
        if not self._watched.closed:
            self._watched.disable_monitor()
        # Closed at once, because a context cannot end while one of its sockets is open.
        self._monitor.close()


def descriptor_of(frame: zmq.Frame) -> int | None:
    """Return the descriptor of the connection that `frame` came over; None for inproc."""
    try:
        descriptor = int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:
        return None
    return descriptor if descriptor >= 0 else None


def silence_ms(descriptor: int) -> int | None:
    """Return how long no data has come over the TCP connection of a descriptor.

    None if the system does not tell (only Linux does), or if it is no TCP connection.
    """
    return _tcp_info(descriptor, _SILENCE_AT, 4)


def bytes_received(descriptor: int) -> int | None:
    """Return how many bytes have come over the TCP connection of a descriptor; None as above."""
    return _tcp_info(descriptor, _RECEIVED_AT, 8)


def _tcp_info(descriptor: int, at: int, size: int) -> int | None:
    if sys.platform != "linux":
        return None
    try:
        with _borrowed(descriptor) as connection:
            info = connection.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_INFO, _TCP_INFO_BYTES)
    except OSError:
        return None
    return int.from_bytes(info[at : at + size], sys.byteorder) if len(info) >= at + size else None


def shut_down(descriptor: int) -> str | None:
    """End the connection of a descriptor, which ZeroMQ then closes; return where it came from.

    None if it has ended already.
    """
    try:
        with _borrowed(descriptor) as connection:
            address = connection.getpeername()
            connection.shutdown(sockets.SHUT_RDWR)
    except OSError:
        return None
    return _host(address)


def address_of(descriptor: int) -> str | None:
    """Return where the connection of a descriptor comes from; None if it has ended."""
    try:
        with _borrowed(descriptor) as connection:
            return _host(connection.getpeername())
    except OSError:
        return None


def _host(address: object) -> str:
    return str(address[0]) if isinstance(address, tuple) else "this machine"


@contextmanager
def _borrowed(descriptor: int) -> Iterator[sockets.socket]:
    # Not `fromfd`, because a copy of the descriptor would keep the connection open.
    borrowed = sockets.socket(fileno=descriptor)
    try:
        yield borrowed
    finally:
        borrowed.detach()
