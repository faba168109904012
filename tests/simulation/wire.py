"""A simulated network, whose connections delay, stall, break, go deaf, and harm single frames.

Within one connection frames arrive in order, as with TCP, except for those that a world harms on
purpose: they are lost, doubled, or swapped with the one before. If a connection breaks, some of the
frames on their way may still arrive.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.links import Link
    from tests.simulation.world import World

#: The longest time for which a peer that leaves in order waits for the answer to its goodbye.
BYE_MS = 250


class Connection:
    """A connection between a peer's process and that of a broker."""

    __slots__ = ("broker", "down", "epoch", "id", "link", "open", "stalled_until", "up", "world")

    def __init__(self, world: World, link: Link, number: int) -> None:
        self.world = world
        self.link = link
        self.broker = link.target
        #: The routing id by which the broker knows the connection.
        self.id = b"c%d" % number
        #: The number of the broker's process; no other process knows the connection.
        self.epoch = self.broker.epoch
        #: True if it accepts new frames. Frames on their way may still arrive after it is closed.
        self.open = True
        self.stalled_until = 0
        self.up: deque[bytes] = deque()
        self.down: deque[bytes] = deque()

    def send_up(self, frame: bytes) -> None:
        """Send a frame from the peer to the broker."""
        self._send(self.up, frame)
        self.world.after(self.world.frame_ms(), self._arrive_up)

    def send_down(self, frame: bytes) -> None:
        """Send a frame from the broker to the peer."""
        self._send(self.down, frame)
        self.world.after(self.world.frame_ms(), self._arrive_down)

    def _send(self, queue: deque[bytes], frame: bytes) -> None:
        world = self.world
        world.counts["frames"] += 1
        if not self.open:
            world.counts["frames lost"] += 1
            return
        queue.append(frame)
        if world.frame_rate and world.rng.random() < world.frame_rate:
            self._harm(queue)

    def _harm(self, queue: deque[bytes]) -> None:
        world = self.world
        what = world.rng.random()
        if what < 0.4:
            queue.pop()
            world.counts["frames lost"] += 1
        elif what < 0.7 or len(queue) < 2:
            queue.append(queue[-1])
            world.after(
                world.frame_ms(), self._arrive_up if queue is self.up else self._arrive_down
            )
            world.counts["frames doubled"] += 1
        else:
            queue[-1], queue[-2] = queue[-2], queue[-1]
            world.counts["frames swapped"] += 1

    def _arrive_up(self) -> None:
        if not self.up or self._stalls(self._arrive_up):
            return
        frame = self.up.popleft()
        broker = self.broker
        if broker.alive and broker.epoch == self.epoch:
            broker.take(self.id, frame)
        else:
            self.world.counts["frames lost"] += 1

    def _arrive_down(self) -> None:
        if not self.down or self._stalls(self._arrive_down):
            return
        frame = self.down.popleft()
        if self.link.connection is self:
            self.link.take(frame)
        else:
            self.world.counts["frames lost"] += 1

    def _stalls(self, again: object) -> bool:
        world = self.world
        if self.stalled_until <= world.now:
            return False
        world.after(self.stalled_until - world.now, again)  # type: ignore[arg-type]
        return True

    # The end -----------------------------------------------------------------------------------

    def stall(self, ms: int) -> None:
        """Hold all frames back for a while."""
        self.stalled_until = max(self.stalled_until, self.world.now + ms)

    def deafen(self) -> None:
        """Make the connection half-open: nothing arrives any more, and neither end notices."""
        self.open = False
        self._drop(self.up, 0)
        self._drop(self.down, 0)

    def close(self) -> None:
        """Break the connection: each end notices at some time; some frames on their way arrive."""
        if not self.open:
            return
        self.open = False
        rng = self.world.rng
        self._drop(self.up, int(rng.random() * (len(self.up) + 1)))
        self._drop(self.down, int(rng.random() * (len(self.down) + 1)))
        self.world.after(self.world.frame_ms(), self._tell_broker)
        self.world.after(self.world.frame_ms(), self._tell_peer)

    def left_by_peer(self) -> None:
        """Handle the close of the peer's end, by itself or by the end of its process."""
        if self.open:
            self.open = False
            self._drop(self.up, int(self.world.rng.random() * (len(self.up) + 1)))
            self._drop(self.down, 0)
            self.world.after(self.world.frame_ms(), self._tell_broker)

    def bye(self) -> None:
        """Close after a goodbye of the peer: its frames arrive before its end is noticed."""
        if self.open:
            self.open = False
            self._drop(self.down, 0)
            self.world.after(BYE_MS, self._tell_broker)

    def left_by_broker(self) -> None:
        """Handle the end of the broker's process."""
        if self.open:
            self.open = False
            self._drop(self.up, 0)
            self._drop(self.down, int(self.world.rng.random() * (len(self.down) + 1)))
            self.world.after(self.world.frame_ms(), self._tell_peer)

    def _drop(self, queue: deque[bytes], keep: int) -> None:
        while len(queue) > keep:
            queue.pop()
            self.world.counts["frames lost"] += 1

    def _tell_broker(self) -> None:
        broker = self.broker
        if broker.alive and broker.epoch == self.epoch:
            broker.lose(self.id)

    def _tell_peer(self) -> None:
        self.link.lose(self)
