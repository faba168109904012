"""A bad network: a TCP proxy between a node and its broker, which the test makes misbehave.

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
    """Cuts one direction of one connection into what must stay whole."""

    def __init__(self) -> None:
        self._buffer = b""
        self._greeting_left = _GREETING_BYTES

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """The next pieces, and whether each is a message (and no greeting or command)."""
        if self._greeting_left:
            # as it comes: each end waits for the first part of the other's before it says the rest
            greeting, data = data[: self._greeting_left], data[self._greeting_left :]
            self._greeting_left -= len(greeting)
            yield greeting, False
        self._buffer += data
        while (size := self._next_size()) is not None:
            piece, self._buffer = self._buffer[:size], self._buffer[size:]
            yield piece, not piece[0] & _COMMAND

    def _next_size(self) -> int | None:
        """Bytes of the next frame, if it is there as a whole. Our messages have one each."""
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
        #: one end was told that it is over, and the other was not
        self.half_open = False

    def close(self) -> None:
        for end in self.ends.values():
            _close(end)


class Proxy:
    """Listens at `url` for as long as the block of `open_proxy` runs."""

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
        #: whether new connections come through
        self.accepting = True
        #: seconds by which all that passes is late
        self.delay_s = 0.0
        #: bytes that pass at a time, a moment apart; 0: as they come
        self.trickle_bytes = 0
        #: every so many messages of one direction meet this fault
        self.fault: tuple[Fault, Way, int] | None = None
        #: messages that have met it
        self.struck = 0
        #: connections that were made
        self.connections = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    # What the test does to it --------------------------------------------------------------------

    def cut(self) -> None:
        """All connections end, and both ends are told."""
        for connection in self._connections:
            connection.close()

    def half_open(self, end: Literal["node", "broker"]) -> None:
        """Close the connections towards one end; the other hears nothing, and is not told."""
        for connection in self._connections:
            connection.half_open = True
            _close(connection.ends["down" if end == "node" else "up"])

    def stall(self, *ways: Way) -> None:
        """From here on nothing passes; it is kept, and passes after `heal`."""
        for way in ways:
            self._open[way].clear()

    def heal(self) -> None:
        """Everything passes, at once and whole."""
        self.accepting = True
        self.delay_s, self.trickle_bytes, self.fault = 0.0, 0, None
        for gate in self._open.values():
            gate.set()
        # so that what was half open is noticed at both ends
        for connection in self._connections:
            if connection.half_open:
                connection.close()

    # The threads -------------------------------------------------------------------------------

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
            self.connections += 1
            connection = _Connection(node, broker)
            self._connections.append(connection)
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
                # swallowed, if this end does not know that the other one has gone
                if not connection.half_open:
                    raise

    def _striker(self, way: Way) -> Callable[[bytes], Iterator[bytes]]:
        """What becomes of the bytes of one direction of one connection."""
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
                    self.struck += 1
                    if fault[0] == "double":
                        yield piece * 2
                    elif fault[0] == "swap":
                        kept.append(piece)

        return strike

    def close(self) -> None:
        self.heal()
        # a listener that is closed while it accepts would not wake its thread
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
    """A proxy in front of `upstream` (``tcp://host:port``)."""
    proxy = Proxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
