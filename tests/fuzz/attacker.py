"""An attacker: a process that opens connections, sends some frames on each, and drops them."""

from __future__ import annotations

import socket
import struct
from collections import Counter
from contextlib import suppress
from random import Random
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import zmq

from tests.fuzz.hostile import Hostile
from understudy_broker.protocol.frames import (
    FrameSequence,
    decode_to_peer,
    encode,
    version_of,
)
from understudy_broker.protocol.messages import PROTOCOL_VERSION, Refused
from understudy_store.limits import MIB

#: Numbers of frames to send on one connection.
BURSTS = (1, 3, 20, 100, 400)
#: Raw connections for each connection that speaks ZeroMQ.
RAW_SHARE = 0.3
#: Seconds after which a broker that receives nothing counts as dead.
STUCK_S = 30
#: The greeting that begins each ZeroMQ connection, with the NULL mechanism.
GREETING = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x00NULL" + bytes(16) + b"\0" + bytes(31)
#: what a peer says next: which kind of socket it is
READY = b"\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06DEALER"


class Orders(NamedTuple):
    """The orders of one attacker."""

    url: str
    seed: int
    frames: int
    others: tuple[str, ...]


def attack(order: Orders) -> Counter[str]:
    """Send frames; return the counts of frames by kind, and of replies by status."""
    attacker = _Attacker(order)
    try:
        while attacker.left > 0:
            attacker.connection()
            if attacker.random.random() < RAW_SHARE:
                attacker.raw()
    except zmq.Again:
        attacker.counts["gave up: the broker takes nothing"] += 1
    finally:
        attacker.context.destroy(linger=2000)
    return attacker.counts


class _Attacker:
    def __init__(self, order: Orders) -> None:
        self.random = Random(order.seed)
        self.left = order.frames
        self.counts: Counter[str] = Counter()
        self.context: zmq.Context[Any] = zmq.Context()
        self.context.set(zmq.MAX_SOCKETS, 4000)
        self._url = order.url
        self._hostile = Hostile(self.random, f"hostile-{order.seed}", order.others)

    def connection(self) -> None:
        """Connect, perhaps say hello, send a burst, and disconnect, properly or not."""
        draw, hostile = self.random, self._hostile
        reads = draw.random() < 0.9
        with self.context.socket(zmq.DEALER) as dealer:
            dealer.set(zmq.SNDHWM, 200)
            dealer.set(zmq.SNDTIMEO, STUCK_S * 1000)
            dealer.connect(self._url)
            self.counts["connections"] += 1
            order = FrameSequence() if draw.random() < 0.4 else None
            if draw.random() < 0.7:
                hello = encode([hostile.hello(others=False)])
                dealer.send(hello if order is None else order.stamp(hello))
            for _ in range(min(self.left, draw.choice(BURSTS))):
                kind, parts = hostile.frame()
                if (
                    order is not None
                    and len(parts) == 1
                    and len(parts[0]) > 1
                    and draw.random() < 0.8
                ):
                    parts = [order.stamp(parts[0])]
                dealer.send_multipart(parts)
                self.counts[f"sent, {kind}"] += 1
                self.left -= 1
                if reads:
                    self._read(dealer)
            if reads:
                dealer.poll(20)
                self._read(dealer)
            # Frames that are still queued are sent after the close, or dropped.
            dealer.close(linger=0 if draw.random() < 0.05 else 2000)

    def _read(self, dealer: zmq.Socket[bytes]) -> None:
        """Check that every reply is a frame."""
        with suppress(zmq.Again):
            while True:
                frame = dealer.recv(zmq.NOBLOCK)
                if 0 < version_of(frame) < PROTOCOL_VERSION:
                    # What looks like a frame of an older version is refused in one.
                    frame = bytes([PROTOCOL_VERSION]) + frame[1:]
                for message in decode_to_peer(frame):
                    name = type(message).__name__.lower()
                    if isinstance(message, Refused):
                        name = f"refused {message.status}"
                    self.counts[f"answered, {name}"] += 1

    def raw(self) -> None:
        """Open a connection that does not speak ZeroMQ, or stops in the middle of it."""
        draw, parts = self.random, urlsplit(self._url)
        garbage = draw.choice(
            [
                b"",
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                draw.randbytes(draw.choice([1, 64, 5000])),
                GREETING[: draw.randrange(len(GREETING))],
                GREETING,
                GREETING + READY,
                GREETING + READY + b"\x01\x00" * draw.choice([1, 1_000]),
                GREETING + READY + b"\x03\0\0\0\0\0\x10\0\0" + bytes(MIB),
                GREETING + READY + b"\x02\0\0\0\0\0\xf0\0\0" + bytes(5_000),
                GREETING + b"\x06\xff\xff\xff\xff\xff\xff\xff\xff",
                GREETING + draw.randbytes(40),
            ]
        )
        address = (parts.hostname or "", parts.port or 0)
        with suppress(OSError), socket.create_connection(address, timeout=STUCK_S) as raw:
            raw.settimeout(0.02)
            raw.sendall(garbage)
            if draw.random() < 0.3:
                raw.recv(1000)
            if draw.random() < 0.5:
                # Close with a reset instead of a normal end.
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.counts["raw connections"] += 1
