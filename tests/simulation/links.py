"""The link of a process to one broker.

It does the work of `understudy_broker.link.connection` around the real link core: it connects, says
hello, reads, writes, sends heartbeats, gives up silent or broken connections, and tries again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from understudy_broker.link.session import LinkSession
from understudy_broker.protocol.frames import FrameLimits, decode_to_peer
from understudy_broker.protocol.messages import ToPeer, Welcome

if TYPE_CHECKING:
    from tests.simulation.broker import BrokerHost
    from tests.simulation.linked import Linked
    from tests.simulation.wire import Connection
    from tests.simulation.world import World

#: Pauses between attempts to connect, in milliseconds.
BACKOFF_MS = (50, 1_000)


class Link:
    """The link of a host's current process to one broker."""

    #: The session of the current process.
    session: LinkSession

    def __init__(self, world: World, host: Linked, broker: BrokerHost) -> None:
        self.world = world
        self.host = host
        self.broker = broker
        self.partitioned_until = 0
        self.connection: Connection | None = None
        #: The broker that is asked for the newest map, in the place of this link's own.
        self.aimed: BrokerHost | None = None
        #: The number of the session; events of an earlier one have no effect.
        self._number = 0

    def begin(self) -> None:
        """Make the session of a new process, or of a broker that has come back."""
        self.session = LinkSession(
            limits=FrameLimits(messages_max=self.world.plan.frame_messages),
            is_busy=self.host.is_busy,
            check_welcome=lambda welcome: self.host.check_welcome(self, welcome),
            on_slots=lambda slots: self.host.on_map(self, slots),
            on_moved=lambda command, on_reply: self.host.on_moved(self, command, on_reply),
        )
        self._number += 1
        self.aimed = None
        self.has_left = self._rejoins = False
        self._inbox: deque[bytes] = deque()
        self._due: int | None = None
        self._connecting = False
        self._welcomed_here = False
        self._backoff_ms = BACKOFF_MS[0]
        self._connected_at = 0

    def end(self) -> Connection | None:
        """Forget the connection, because the process ends, and return it."""
        connection, self.connection = self.connection, None
        return connection

    def leave(self) -> None:
        """End the session for good, because the broker is gone; `begin` makes another one."""
        self.has_left = True
        connection = self.end()
        self._number += 1
        self._inbox.clear()
        if connection is not None:
            connection.left_by_peer()
        if self.session.close("the broker is gone"):
            self.host.on_disconnected(self)

    def rejoin(self) -> None:
        """Replace the connection by a new one at once."""
        self._rejoins = True
        self.session.rejoin()
        self._later(0, self.flush)

    @property
    def target(self) -> BrokerHost:
        """The broker that the next connection leads to."""
        return self.aimed or self.broker

    @property
    def has_unread(self) -> bool:
        """True if frames have arrived that the process has not read."""
        return bool(self._inbox)

    # Connecting ----------------------------------------------------------------------------------

    def connect(self) -> None:
        """Connect soon, unless that is under way or done."""
        if self._connecting or self.connection is not None:
            return
        self._connecting = True
        self._later(self.world.frame_ms(), self._connected)

    def _later(self, ms: int, act: Callable[[], None]) -> None:
        """Call `act` in `ms`, if this session goes on."""
        number = self._number
        self.host.later(ms, lambda: act() if self._number == number else None)

    def _connected(self) -> None:
        world = self.world
        self._connecting = False
        if not self.target.alive or self.partitioned_until > world.now:
            self.host.on_unreachable(self)
            self._retry()
            return
        self._welcomed_here = self._rejoins = False
        self._connected_at = world.now
        self.connection = world.connect(self)
        self.connection.send_up(self.session.open(self.host.hello(self), world.now))
        self._wake()

    def _retry(self) -> None:
        self._connecting = True
        wait_ms = int(self._backoff_ms * (0.5 + self.world.rng.random() / 2))
        self._backoff_ms = min(2 * self._backoff_ms, BACKOFF_MS[1])
        self._later(wait_ms, self._connected)

    def lose(self, connection: Connection) -> None:
        """Handle the kernel's report that this connection is closed."""

        def lost() -> None:
            if self.connection is connection:
                self._give_up("closed")

        if self.host.alive:
            self._later(0, lost)

    def _give_up(self, why: str) -> None:
        connection, self.connection = self.connection, None
        assert connection is not None
        connection.left_by_peer()
        self._inbox.clear()
        if self.session.close(why):
            self.host.on_disconnected(self)
            self.host.on_unreachable(self)
        lasted_ms = self.world.now - self._connected_at
        if self._rejoins or (self._welcomed_here and lasted_ms >= BACKOFF_MS[1]):
            self._backoff_ms = BACKOFF_MS[0]
            self.connect()
        else:
            self._retry()

    # Frames --------------------------------------------------------------------------------------

    def take(self, frame: bytes) -> None:
        """Receive a frame."""
        self._inbox.append(frame)
        if self.host.frozen_until > self.world.now:
            self._later(0, self._read)
        else:
            self._read()

    def _read(self) -> None:
        if not self._inbox:
            return
        now = self.world.now
        inbox, self._inbox = self._inbox, deque()
        for frame in inbox:
            if not self.session.accepts(frame):
                continue
            messages = decode_to_peer(frame)
            self.world.received(self.host, messages)
            rest: list[ToPeer] = []
            for message in self.session.receive(messages, now):
                if type(message) is Welcome:
                    self._welcomed(message)
                else:
                    rest.append(message)
            if rest:
                self.host.on_messages(self, rest)
        if self.session.failure is not None:
            self.host.refused(self.session.failure)
            return
        self.host.flush()

    def _welcomed(self, welcome: Welcome) -> None:
        self._welcomed_here = True
        self.host.welcomed(self, welcome)

    def flush(self) -> None:
        """Send all pending messages; give up a silent connection."""
        connection, session, now = self.connection, self.session, self.world.now
        if connection is None:
            return
        if session.is_broken(now):
            self._give_up(session.last_error or "silent")
            return
        for frame in session.take_frames(now):
            self.world.say_frame(self.host.name, connection.broker.name, frame)
            connection.send_up(frame)
        self._wake()

    def _wake(self) -> None:
        due = self.session.next_due()
        if self._due is None or due < self._due:
            self._due = due
            self._later(max(0, due - self.world.now), self._timed(due))

    def _timed(self, due: int) -> Callable[[], None]:
        def act() -> None:
            if self._due == due:
                self._due = None
                self.flush()

        return act
