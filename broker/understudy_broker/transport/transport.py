"""The seam between a broker's loop and the connections of its peers.

`Server` knows peers by their routing ids and sends them frames; how frames travel is up to a
`Transport`. `RouterTransport` is the only one so far. To use another one, choose it where `serve`
makes the transport; nothing else has to change.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

from understudy_broker.transport.send_queues import Put
from understudy_broker.transport.socket import Pause
from understudy_broker.transport.zap import Refusal


class Received(NamedTuple):
    """News of the peers since the last look.

    Attributes
    ----------
    lost
        Peers whose connection had closed before these frames were read.
    frames
        Frames in the order in which they are to be taken, each with its peer. A message that is no
        frame is empty.
    ended
        Peers whose connection closed after it had brought some of these frames.
    is_complete
        Everything that had come was read.
    """

    lost: list[bytes]
    frames: list[tuple[bytes, bytes | memoryview]]
    ended: list[bytes]
    is_complete: bool


class Transport(Protocol):
    """Connections of many peers, used by one trio task.

    No method blocks, except those that are coroutines.
    """

    @property
    def address(self) -> str:
        """The address at which peers connect, with the port that the system chose."""
        ...

    @property
    def connections(self) -> int:
        """The number of open connections, also of those that have brought nothing so far."""
        ...

    @property
    def waits_for_descriptors(self) -> bool:
        """True if a pause may have other descriptors, which end it when they become readable."""
        ...

    @property
    def has_waiting(self) -> bool:
        """True if frames wait for peers that do not take them; `flush` tries them again."""
        ...

    def receive(self) -> Received:
        """Read what has come, up to a bound."""
        ...

    def take_lost(self, flooding: Collection[bytes] = ()) -> list[bytes]:
        """Return the peers whose connection closed, without reading frames.

        Those of peers that flood the broker are ended, and reported later.
        """
        ...

    def send(self, peer: bytes, frame: bytes) -> Put:
        """Send a frame, or let it wait behind those that wait for the same peer.

        With "slow" and "gone" everything that waits for the peer is dropped: it counts as lost.
        """
        ...

    def flush(self) -> list[bytes]:
        """Send waiting frames where that is possible; return the peers that are gone."""
        ...

    def is_waiting(self, peer: bytes) -> bool:
        """Return whether frames wait for a peer."""
        ...

    async def guard(self, is_known: Callable[[bytes], bool], tell: Callable[[str], None]) -> None:
        """Cut connections that are of no use, in a task beside `drive`, for ever.

        Parameters
        ----------
        is_known
            Returns whether a peer has said hello.
        tell
            Writes a warning to the log.
        """
        ...

    def identity(self, peer: bytes) -> str | None:
        """Return whose connection a peer's is, by its key; None: nobody asks for keys here."""
        ...

    def peer_address(self, peer: bytes) -> str | None:
        """Return where a peer's connection comes from; None if that is not known any more."""
        ...

    def take_refusals(self) -> list[Refusal]:
        """Return the connections that were refused since the last call, for the log."""
        ...

    def cut_revoked(self) -> list[bytes]:
        """End the connections whose keys are no longer permitted; return their peers.

        No frame of theirs is delivered from then on.
        """
        ...

    def silence_ms(self, peer: bytes) -> int | None:
        """Return how long no data has come from a peer, be it no more than a ping.

        None if the system does not tell, or the connection has closed.
        """
        ...

    async def drive(self, turn: Callable[[], Pause | None]) -> None:
        """Call `turn` again after each pause that it returned, until it returns None.

        A pause ends when a frame comes (unless its `events` are 0), when a connection closes, at
        `wake`, or after its time.
        """
        ...

    async def wait(self, timeout_s: float) -> None:
        """Return at `wake`, or after `timeout_s`; frames are not waited for."""
        ...

    async def watch(self) -> None:
        """End a pause whenever a connection closes; runs in a task beside `drive`, for ever."""
        ...

    def wake(self) -> None:
        """End the pause of `drive`; to be called on the loop's thread."""
        ...

    def close(self) -> None:
        """Close all connections, after what was sent has left or a short time has passed."""
        ...
