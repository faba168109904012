"""Decides which connections to cut: they hold memory or a descriptor and are of no use. Pure.

Two things are nobody's business but the transport's, because no message ever comes of them.

- *Silent connections.* A connection without a hello takes a descriptor, and counts as no peer. It
  is cut after `LOOKS_MAX` looks.
- *Messages without an end.* ZeroMQ keeps what has come of a message until the last of it is there,
  and bounds each part, not their number. What the kernel has received over a connection and the
  transport has not delivered is kept by ZeroMQ. A peer may have `peer_bytes_max` of it, and a
  stranger, whose only business is to say hello, `STRANGER_BYTES_MAX`; all strangers together may
  have `STRANGERS_BYTES_MAX`, beyond which those that have most are cut first.

What was received is compared with what is delivered *later*, after the transport has read all there
was, so frames on their way are not held against anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

from understudy_store.limits import MIB

#: looks at a connection without a hello until it is cut
LOOKS_MAX: Final = 3
#: bytes of a stranger's, and of all strangers', that have come and are not delivered
STRANGER_BYTES_MAX: Final = 8 * MIB
STRANGERS_BYTES_MAX: Final = 16 * MIB
#: Bytes a second that a connection may receive on top: ZeroMQ's own pings are not delivered.
PING_BYTES_PER_S: Final = 100


class ConnectionGuard:
    """Decides which connections are to be cut.

    Parameters
    ----------
    peer_bytes_max
        Bytes of a peer's that have come and are not delivered.
    """

    def __init__(self, peer_bytes_max: int) -> None:
        self._peer_bytes_max = peer_bytes_max
        #: looks at connections without a hello, by descriptor
        self._looks: dict[int, int] = {}
        #: bytes that have come over connections until some moment, and their ages then, seconds
        self._received: dict[int, tuple[int, float]] = {}

    def forget(self, descriptor: int) -> None:
        """Forget a connection that is closed."""
        self._looks.pop(descriptor, None)
        self._received.pop(descriptor, None)

    def silent(self, descriptors: Collection[int], is_known: Callable[[int], bool]) -> list[int]:
        """Look at all connections; return those that have said no hello for too long.

        Parameters
        ----------
        is_known
            Returns whether a connection is that of a peer that has said hello.
        """
        looks = self._looks
        self._looks = {
            descriptor: looks.get(descriptor, 0) + 1
            for descriptor in descriptors
            if not is_known(descriptor)
        }
        return [each for each, count in self._looks.items() if count >= LOOKS_MAX]

    @property
    def is_comparing(self) -> bool:
        """True after `received`, until `endless`."""
        return bool(self._received)

    def received(self, received: Mapping[int, tuple[int, float]]) -> None:
        """Note what has come over each connection by now: bytes, and its age in seconds."""
        self._received = dict(received)

    def endless(
        self, delivered: Callable[[int], int], is_known: Callable[[int], bool]
    ) -> list[int]:
        """Return the connections with too much that was not delivered.

        Everything that had come whole at the time of `received` is delivered by now.

        Parameters
        ----------
        delivered
            Returns the bytes that were delivered from a connection.
        """
        found: list[int] = []
        strangers: list[tuple[int, int]] = []
        for descriptor, (count, age_s) in self._received.items():
            kept = count - delivered(descriptor) - int(age_s * PING_BYTES_PER_S)
            if is_known(descriptor):
                if kept > self._peer_bytes_max:
                    found.append(descriptor)
            elif kept > STRANGER_BYTES_MAX:
                found.append(descriptor)
            elif kept > 0:
                strangers.append((kept, descriptor))
        self._received = {}
        over = sum(kept for kept, _ in strangers) - STRANGERS_BYTES_MAX
        for kept, descriptor in sorted(strangers, reverse=True):
            if over <= 0:
                break
            found.append(descriptor)
            over -= kept
        return found
