"""Bounds on what peers have not received yet: `SendQueues` and `InFlightBytes`.

A ROUTER never blocks here. A frame that does not fit into a peer's pipe waits in that peer's own
queue, and a peer whose queue exceeds its bound is too slow to be kept. So one slow reader costs
the others nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

#: What became of a frame that was sent: "full" is a pipe without room, "gone" an unknown peer.
Sent: TypeAlias = Literal["sent", "full", "gone"]
#: What became of a frame that was sent or queued. After "slow" and "gone" the peer's queue is
#: empty, because all its frames were dropped.
Put: TypeAlias = Literal["sent", "queued", "slow", "gone"]


class Tracker(Protocol):
    """Tells when a frame has left, as ``zmq.MessageTracker`` does."""

    @property
    def done(self) -> bool: ...


class _Queue:
    __slots__ = ("frames", "size_bytes")

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self.size_bytes = 0


class SendQueues:
    """A queue for each peer whose pipe is full.

    Parameters
    ----------
    send
        Sends one frame to a peer without blocking.
    bytes_max
        Bytes that may be queued for one peer. A single frame may be larger, if it is alone.

    Attributes
    ----------
    has_frames
        True if any frame is queued.
    """

    def __init__(self, send: Callable[[bytes, bytes], Sent], bytes_max: int) -> None:
        self._send = send
        self._bytes_max = bytes_max
        self._queues: dict[bytes, _Queue] = {}
        self.has_frames = False

    def has_frames_for(self, peer: bytes) -> bool:
        """Return whether any frame is queued for this peer."""
        return peer in self._queues

    def put(self, peer: bytes, frame: bytes) -> Put:
        """Send a frame, or queue it behind the others for the same peer."""
        queue = self._queues.get(peer)
        if queue is None:
            sent = self._send(peer, frame)
            if sent != "full":
                return sent
            queue = self._queues[peer] = _Queue()
            self.has_frames = True
        elif queue.size_bytes + len(frame) > self._bytes_max:
            self.drop(peer)
            return "slow"
        queue.frames.append(frame)
        queue.size_bytes += len(frame)
        return "queued"

    def flush(self) -> list[bytes]:
        """Send the queued frames that fit by now, and return the peers that are gone."""
        gone = []
        for peer, queue in list(self._queues.items()):
            while queue.frames:
                sent = self._send(peer, queue.frames[0])
                if sent == "full":
                    break
                if sent == "gone":
                    gone.append(peer)
                    queue.frames.clear()
                    break
                queue.size_bytes -= len(queue.frames.popleft())
            if not queue.frames:
                self.drop(peer)
        return gone

    def drop(self, peer: bytes) -> None:
        """Drop what is queued for a peer."""
        self._queues.pop(peer, None)
        self.has_frames = bool(self._queues)


class InFlightBytes:
    """The bytes of large frames in each peer's pipe. ZeroMQ itself bounds only their number.

    Parameters
    ----------
    bytes_max
        Once a pipe holds this many bytes, another large frame has to wait.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._in_flight: dict[bytes, deque[tuple[Tracker, int]]] = {}

    def full(self, peer: bytes) -> bool:
        """Return whether a large frame for this peer has to wait."""
        in_flight = self._in_flight.get(peer)
        if in_flight is None:
            return False
        while in_flight and in_flight[0][0].done:
            in_flight.popleft()
        if not in_flight:
            del self._in_flight[peer]
        return sum(size for _, size in in_flight) >= self._bytes_max

    def put(self, peer: bytes, tracker: Tracker, size_bytes: int) -> None:
        """Count a large frame that was sent, until `tracker` is done."""
        self._in_flight.setdefault(peer, deque()).append((tracker, size_bytes))

    def drop(self, peer: bytes) -> None:
        """Forget a peer that is gone, and with it its pipe."""
        self._in_flight.pop(peer, None)
