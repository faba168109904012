"""A host with one process at a time, and the link of that process to the broker.

It does the work of `understudy_broker.link.connection` around the real link core: it connects, says
hello, reads, writes, sends heartbeats, gives up silent or broken connections, and tries again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.programs import environment_of
from understudy_actors.node.core import NodeCore
from understudy_broker.clock import PeerClock
from understudy_broker.core.sessions import callees
from understudy_broker.core.task_queue import Callee
from understudy_broker.link.session import LinkSession
from understudy_broker.protocol.frames import FrameLimits, decode_to_peer
from understudy_broker.protocol.messages import PROTOCOL_VERSION, Hello, ToPeer, Welcome

if TYPE_CHECKING:
    from tests.simulation.wire import Connection
    from tests.simulation.world import World

NS = 1_000_000
#: Pauses between attempts to connect, in milliseconds.
BACKOFF_MS = (50, 1_000)
#: The group of the clients.
CALLERS = "callers"


class LinkedHost:
    """A host that stays connected as long as it lives and the network allows."""

    #: The core of the current process.
    core: NodeCore

    def __init__(self, world: World, place: int, group: str | None) -> None:
        self.world = world
        self.place = place
        #: The group of a node; None for a client.
        self.group = group
        #: The release of the code that the next process will have.
        self.release = 0
        self.env = environment_of(group or CALLERS)
        #: The functions of the current process, as calls name them.
        self.callees: frozenset[Callee] = frozenset()
        self.name = f"n{place}" if group else f"c{place}"
        self.epoch = 0
        self.alive = False
        self.frozen_until = 0
        self.partitioned_until = 0
        self.skew_ms = 0
        self.connection: Connection | None = None

    def _begin(self) -> None:
        """Make the parts of a new process."""

    def _is_busy(self) -> bool:
        """Return whether the process holds or awaits something."""
        return True

    def _on_messages(self, messages: list[ToPeer]) -> None:
        """Handle the messages that answer no request."""

    def _on_connected(self, reconnected: bool) -> None:
        """Handle the broker's welcome."""

    # Life ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a new process, which knows nothing of the one before it."""
        if self.alive:
            return
        world = self.world
        self.epoch += 1
        self.alive = True
        if self.group is None:
            # A client that calls again is another process, with another name.
            self.name = f"c{self.place}-{self.epoch}"
        elif world.rng.random() < 0.3:
            # The new node has another name, so only silence tells that the old one is dead.
            self.name = f"n{self.place}-{self.epoch}"
        self.env = environment_of(self.group or CALLERS, self.release)
        self._functions = tuple(zip(*self.env.functions.announced(), strict=True))
        self.callees = callees(*self._functions)
        self._clock = PeerClock(
            wall_ns=lambda: (world.now + self.skew_ms) * NS, elapsed_ns=lambda: world.now * NS
        )
        self.link = LinkSession(
            limits=FrameLimits(messages_max=world.plan.frame_messages), is_busy=self._is_busy
        )
        self._inbox: deque[bytes] = deque()
        self._due: int | None = None
        self._connecting = False
        self._welcomed_here = False
        self._rejoining = False
        self._backoff_ms = BACKOFF_MS[0]
        self._connected_at = 0
        self._welcome: Welcome | None = None
        self._begin()
        self._connect()

    def crash(self, why: str = "killed", away_ms: int | None = None) -> None:
        """End the process between two steps; the kernel closes its connection."""
        if not self.alive:
            return
        world = self.world
        world.say(self.name, why)
        world.counts["node crashes" if self.group else "client crashes"] += 1
        self.alive = False
        self.epoch += 1
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.left_by_peer()
        if away_ms is None:
            away_ms = world.pick((1, 20, 100, 1_000))
        world.after(away_ms, self.start)

    def later(self, ms: int, act: Callable[[], None]) -> None:
        """Call `act` in `ms`, or when the process thaws, if it is still alive then."""
        epoch, world = self.epoch, self.world

        def due() -> None:
            if self.epoch != epoch:
                return
            if self.frozen_until > world.now:
                world.after(self.frozen_until - world.now, due)
            else:
                act()

        world.after(ms, due)

    @property
    def now_ms(self) -> int:
        """Return the time by the clock of this process."""
        return self._clock()

    # The link's shell ----------------------------------------------------------------------------

    def _connect(self) -> None:
        if self._connecting or self.connection is not None:
            return
        self._connecting = True
        self.later(self.world.frame_ms(), self._connected)

    def _connected(self) -> None:
        world = self.world
        self._connecting = False
        if not world.broker.alive or self.partitioned_until > world.now:
            self._retry()
            return
        self._welcomed_here = self._rejoining = False
        self._connected_at = world.now
        self.connection = world.connect(self)
        self.connection.send_up(self.link.open(self._hello(), world.now))
        self._wake_link()

    def _retry(self) -> None:
        self._connecting = True
        wait_ms = int(self._backoff_ms * (0.5 + self.world.rng.random() / 2))
        self._backoff_ms = min(2 * self._backoff_ms, BACKOFF_MS[1])
        self.later(wait_ms, self._connected)

    def _hello(self) -> Hello:
        return Hello(
            protocol=PROTOCOL_VERSION,
            kind="node" if self.group else "client",
            group=self.group or CALLERS,
            name=self.name,
            boot=str(self.epoch),
            os_pid=1,
            host="sim",
            sdk="sim",
            credit=self.core.new_session(self.link),
            claims=self.core.claims(),
            functions=self._functions[0],
            versions=self._functions[1],
        )

    def take(self, frame: bytes) -> None:
        """Receive a frame."""
        self._inbox.append(frame)
        if self.frozen_until > self.world.now:
            self.later(0, self._read)
        else:
            self._read()

    def _read(self) -> None:
        if not self._inbox:
            return
        now = self.world.now
        inbox, self._inbox = self._inbox, deque()
        for frame in inbox:
            if not self.link.accepts(frame):
                continue
            messages = decode_to_peer(frame)
            self.world.received(self, messages)
            rest: list[ToPeer] = []
            for message in self.link.receive(messages, now):
                if type(message) is Welcome:
                    self._welcomed(message)
                else:
                    rest.append(message)
            if rest:
                self._on_messages(rest)
        if self.link.failure is not None:
            self.crash(f"ends: {self.link.failure}", self.world.pick((100, 1_000)))
            return
        self.flush()

    def lose(self, connection: Connection) -> None:
        """Handle the kernel's report that this connection is closed."""

        def lost() -> None:
            if self.connection is connection:
                self._give_up("closed")

        if self.alive:
            self.later(0, lost)

    def _give_up(self, why: str) -> None:
        connection, self.connection = self.connection, None
        assert connection is not None
        connection.left_by_peer()
        self._inbox.clear()
        if self.link.close(why):
            self.core.disconnected()
        lasted_ms = self.world.now - self._connected_at
        if self._rejoining or (self._welcomed_here and lasted_ms >= BACKOFF_MS[1]):
            self._backoff_ms = BACKOFF_MS[0]
            self._connect()
        else:
            self._retry()

    def flush(self) -> None:
        """Send all pending messages; give up a silent connection."""
        connection, link, now = self.connection, self.link, self.world.now
        if connection is None:
            return
        if link.is_broken(now):
            self._give_up(link.last_error or "silent")
            return
        for frame in link.take_frames(now):
            self.world.say_frame(self.name, "broker", frame)
            connection.send_up(frame)
        self._wake_link()

    def _wake_link(self) -> None:
        due = self.link.next_due()
        if self._due is None or due < self._due:
            self._due = due
            self.later(max(0, due - self.world.now), self._timed(due))

    def _timed(self, due: int) -> Callable[[], None]:
        def act() -> None:
            if self._due == due:
                self._due = None
                self.flush()

        return act

    def _welcomed(self, welcome: Welcome) -> None:
        reconnected = self._welcome is not None
        self._welcome = welcome
        self._welcomed_here = True
        self._clock.synchronize(welcome.now, self.link.round_trip_ms)
        self.world.lag_ms = max(self.world.lag_ms, 1 + self.link.round_trip_ms // 2)
        self.core.connected(welcome.lost, reconnected)
        self._on_connected(reconnected)
