"""What peers have not taken yet: a bounded queue for each, in front of its socket.

A ROUTER never blocks here. A frame that a peer's pipe does not take waits in that peer's own queue,
and a peer whose queue outgrows its bound is too slow to be kept: one slow reader costs the others
nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

#: sent; the pipe is full; there is no such peer
Sent: TypeAlias = Literal["sent", "full", "gone"]
#: what became of a frame: with "slow" and "gone" everything for that peer is dropped
Put: TypeAlias = Literal["sent", "queued", "slow", "gone"]


class Tracker(Protocol):
    """As ``zmq.MessageTracker``."""

    @property
    def done(self) -> bool: ...


class _Waiting:
    __slots__ = ("frames", "size")

    def __init__(self) -> None:
        self.frames: deque[bytes] = deque()
        self.size = 0


class SendQueues:
    """Queues by peer.

    Parameters
    ----------
    send
        Sends one frame to a peer without blocking.
    bytes_max
        Bytes that may wait for one peer; a single larger frame may, if it is alone.
    """

    def __init__(self, send: Callable[[bytes, bytes], Sent], bytes_max: int) -> None:
        self._send = send
        self._bytes_max = bytes_max
        self._waiting: dict[bytes, _Waiting] = {}

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def waits(self, peer: bytes) -> bool:
        """Whether anything waits for this peer."""
        return peer in self._waiting

    def put(self, peer: bytes, frame: bytes) -> Put:
        """Send a frame, or queue it behind those that wait for the same peer."""
        waiting = self._waiting.get(peer)
        if waiting is None:
            sent = self._send(peer, frame)
            if sent != "full":
                return sent
            waiting = self._waiting[peer] = _Waiting()
        elif waiting.size + len(frame) > self._bytes_max:
            self.drop(peer)
            return "slow"
        waiting.frames.append(frame)
        waiting.size += len(frame)
        return "queued"

    def flush(self) -> list[bytes]:
        """Send what can be sent by now; returns the peers that are gone."""
        gone = []
        for peer, waiting in list(self._waiting.items()):
            while waiting.frames:
                sent = self._send(peer, waiting.frames[0])
                if sent == "full":
                    break
                if sent == "gone":
                    gone.append(peer)
                    waiting.frames.clear()
                    break
                waiting.size -= len(waiting.frames.popleft())
            if not waiting.frames:
                del self._waiting[peer]
        return gone

    def drop(self, peer: bytes) -> None:
        """Forget what waits for a peer."""
        self._waiting.pop(peer, None)


class InFlightBytes:
    """How many bytes of large frames are in each peer's own pipe, where ZeroMQ counts frames only.

    Parameters
    ----------
    bytes_max
        That may be there when another large frame is put in.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._inside: dict[bytes, deque[tuple[Tracker, int]]] = {}

    def full(self, peer: bytes) -> bool:
        """Whether a large frame has to wait."""
        inside = self._inside.get(peer)
        if inside is None:
            return False
        while inside and inside[0][0].done:
            inside.popleft()
        if not inside:
            del self._inside[peer]
        return sum(size for _, size in inside) >= self._bytes_max

    def put(self, peer: bytes, tracker: Tracker, size: int) -> None:
        """A large frame went into the pipe; `tracker` knows when it has left."""
        self._inside.setdefault(peer, deque()).append((tracker, size))

    def drop(self, peer: bytes) -> None:
        """The peer is gone, and its pipe."""
        self._inside.pop(peer, None)
