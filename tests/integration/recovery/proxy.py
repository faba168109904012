"""A bad network: a TCP proxy between a node and its broker, with faults that a test switches on.

It knows ZeroMQ's framing well enough to lose, double or swap whole messages: after a greeting of 64
bytes come frames of one flag byte, a length of one or eight bytes, and the body.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Literal, TypeAlias

#: up: from the node to the broker
Way: TypeAlias = Literal["up", "down"]
WAYS: Final[tuple[Way, Way]] = ("up", "down")
Fault: TypeAlias = Literal["drop", "double", "swap"]

_GREETING_BYTES: Final = 64
_MORE, _LONG, _COMMAND = 1, 2, 4
_CHUNK_BYTES: Final = 65536


class Messages:
    """Splits one direction of a connection into pieces that must stay whole."""

    def __init__(self) -> None:
        self._buffer = b""
        self._greeting_left = _GREETING_BYTES

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """Take in bytes; yield the complete pieces, and for each whether it is a message."""
        if self._greeting_left:
            # Not held until complete, because each end waits for the first part of the other's
            # greeting before it sends the rest of its own.
            greeting, data = data[: self._greeting_left], data[self._greeting_left :]
            self._greeting_left -= len(greeting)
            yield greeting, False
        self._buffer += data
        while (size := self._next_size()) is not None:
            piece, self._buffer = self._buffer[:size], self._buffer[size:]
            yield piece, not piece[0] & _COMMAND

    def _next_size(self) -> int | None:
        """Return the size of the next frame if it is complete. Each message has a single frame."""
        data = self._buffer
        head = 9 if data and data[0] & _LONG else 2
        if len(data) < head:
            return None
        assert not data[0] & _MORE
        size = head + int.from_bytes(data[1:head], "big")
        return size if len(data) >= size else None


class _Connection:
    def __init__(self, node: socket.socket, broker: socket.socket) -> None:
        self.ends: dict[Way, socket.socket] = {"up": broker, "down": node}
        #: one end was told that the connection is closed, and the other was not
        self.half_open = False

    def close(self) -> None:
        for end in self.ends.values():
            _close(end)


class Proxy:
    """Listens at `url` while the block of `open_proxy` runs."""

    def __init__(self, upstream: str) -> None:
        host, _, port = upstream.removeprefix("tcp://").rpartition(":")
        self._upstream = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open = {way: threading.Event() for way in WAYS}
        for gate in self._open.values():
            gate.set()
        self._closed = False
        self._connections: list[_Connection] = []
        #: new connections are passed on
        self.accepting = True
        #: delay of all data, in seconds
        self.delay_s = 0.0
        #: bytes that are passed on at a time, with a pause after each; 0: no such limit
        self.trickle_bytes = 0
        #: the fault, and the number of messages of one direction of which the last has it
        self.fault: tuple[Fault, Way, int] | None = None
        #: number of messages with the fault so far
        self.fault_count = 0
        #: number of connections so far
        self.connections = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    # Faults --------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Close all connections, towards both ends."""
        for connection in self._connections:
            connection.close()

    def half_open(self, end: Literal["node", "broker"]) -> None:
        """Close the connections towards one end. The other end notices only the silence."""
        for connection in self._connections:
            connection.half_open = True
            _close(connection.ends["down" if end == "node" else "up"])

    def stall(self, *ways: Way) -> None:
        """Hold back all data from now on, until `heal`."""
        for way in ways:
            self._open[way].clear()

    def heal(self) -> None:
        """Pass on everything, at once and whole."""
        self.accepting = True
        self.delay_s, self.trickle_bytes, self.fault = 0.0, 0, None
        for gate in self._open.values():
            gate.set()
        # Both ends of a half-open connection notice its end now.
        for connection in self._connections:
            if connection.half_open:
                connection.close()

    # Threads --------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                node, _ = self._listener.accept()
            except OSError:
                return
            if not self.accepting:
                node.close()
                continue
            broker = socket.socket()
            try:
                broker.connect(self._upstream)
            except OSError:
                node.close()
                broker.close()
                continue
            connection = _Connection(node, broker)
            self._connections.append(connection)
            # After it was added, so that whoever sees this number can cut the connection.
            self.connections += 1
            for way in WAYS:
                threading.Thread(target=self._pump, args=(connection, way), daemon=True).start()

    def _pump(self, connection: _Connection, way: Way) -> None:
        source = connection.ends["down" if way == "up" else "up"]
        target = connection.ends[way]
        strike = self._striker(way)
        with suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                for piece in strike(data):
                    self._pass(piece, target, way, connection)
        if not connection.half_open:
            connection.close()

    def _pass(self, data: bytes, target: socket.socket, way: Way, connection: _Connection) -> None:
        if self.delay_s:
            time.sleep(self.delay_s)
        self._open[way].wait()
        size = self.trickle_bytes or len(data)
        for start in range(0, len(data), size):
            if start:
                time.sleep(0.001)
            try:
                target.sendall(data[start : start + size])
            except OSError:
                # Swallowed if this end does not know that the other one is gone.
                if not connection.half_open:
                    raise

    def _striker(self, way: Way) -> Callable[[bytes], Iterator[bytes]]:
        """Pass on the bytes of one direction of a connection, with the faults."""
        messages = Messages()
        kept: list[bytes] = []
        seen = 0

        def strike(data: bytes) -> Iterator[bytes]:
            nonlocal seen
            for piece, is_message in messages.feed(data):
                seen += is_message
                fault = self.fault
                if kept:
                    yield piece
                    yield kept.pop()
                elif not is_message or fault is None or fault[1] != way or seen % fault[2]:
                    yield piece
                else:
                    self.fault_count += 1
                    if fault[0] == "double":
                        yield piece * 2
                    elif fault[0] == "swap":
                        kept.append(piece)

        return strike

    def close(self) -> None:
        self.heal()
        # Closing a listener does not wake a thread that accepts, but a connection does.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join()


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def open_proxy(upstream: str) -> Iterator[Proxy]:
    """Open a proxy in front of `upstream` (``tcp://host:port``)."""
    proxy = Proxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
