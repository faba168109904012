"""A broker's process: the real core on a simulated store, driven as `Server` drives it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.simulation.checks import Watched
from tests.simulation.observations import hold
from tests.simulation.own_disk import DiskError
from tests.simulation.slot_peer import SlotPeer
from tests.simulation.storage import Storage
from understudy_broker.clock import Clock
from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.core import BrokerCore
from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.outbox import Frame
from understudy_broker.errors import BrokerError
from understudy_broker.protocol.frames import FrameLimits
from understudy_broker.protocol.messages import SlotCommand, SlotMap
from understudy_store.changes import Snapshot
from understudy_store.commands import PromiseAnnounce
from understudy_store.errors import StoreError
from understudy_store.machine import MachineConfig

if TYPE_CHECKING:
    from tests.simulation.world import World

NS = 1_000_000
#: Short, so that promises that are idle for a moment are packed.
COOL_AFTER_MS = 500
#: How soon to look again at a store that may not be read, or while others are to have the slots.
STALE_MS = 50
#: How long a broker that ends may take until it is killed.
LEAVE_MS = 30_000
#: Metrics of the core that show how many faults reached it.
_COUNTED = (
    "stale_writes", "frames_repeated", "frames_missing", "leases_lapsed", "refused", "parked",
)  # fmt: skip


class BrokerHost:
    """A broker that may crash or freeze, and whose store may fail."""

    #: Where the promises are.
    storage: Storage

    def __init__(self, world: World, name: str, slots: SlotMap | None) -> None:
        self.world = world
        self.name = name
        #: The links to all brokers, if there are several.
        self.peer: SlotPeer | None = None
        #: The number of the current process; events of an earlier one have no effect.
        self.epoch = 0
        self.alive = False
        #: True if a process has begun, but is not there for its peers yet, or any more.
        self.is_busy = False
        #: True if it has left, and is not to come back.
        self.has_retired = False
        self.frozen_until = 0
        #: The offset of the machine's wall clock.
        self.skew_ms = 0
        self.was_set = False
        self._is_leaving = False
        plan = world.plan
        self.config = BrokerConfig(
            name=name,
            slots=slots,
            lease_ttl_ms=plan.lease_ttl_ms,
            beat_ms=plan.beat_ms,
            reconnect_grace_ms=plan.grace_ms,
            boot_grace_ms=plan.boot_grace_ms,
            unblock_retry_ms=500,
            inflight_max=plan.inflight_max,
            batch_requests_max=plan.batch_requests_max,
            reply_delay_ms=plan.reply_delay_ms,
            frames=FrameLimits(frame_bytes_soft=plan.frame_bytes),
        )

    # The process ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a process, which continues from what is stored."""
        if self.alive or self.is_busy or self.has_retired:
            return
        self.epoch += 1
        self._is_leaving = False
        self.storage.open()

    def begin(self, snapshot: Snapshot, wall_ns: Callable[[], int]) -> None:
        """Be there for peers from now on: the store is open."""
        world, plan = self.world, self.world.plan
        self.alive, self.is_busy = True, False
        self.clock = Clock(snapshot.now, wall_ns=wall_ns, elapsed_ns=lambda: world.now * NS)
        self.machine = Watched(
            MachineConfig(
                retry_timeout_ms=plan.retry_timeout_ms,
                pack_after_ms=COOL_AFTER_MS,
                sharded=self.config.slots is not None,
            ),
            self.storage.memory,
            self.storage.history,
        )
        self.core = BrokerCore(self.machine, Dispatcher(self.config.credit_max), self.config)
        self.core.start(snapshot, self.clock(), self.clock.ahead_ms)
        self._inbox: deque[tuple[bytes, bytes]] = deque()
        self._lost: list[bytes] = []
        self._due: int | None = None
        self.storage.attach()
        if plan.shared:
            # Brokers of one store go by its clock, which they read with the delay of a round trip.
            world.apart_ms = max(world.apart_ms, abs(self.clock() - world.now))
        self.wake(0)
        if self.peer is not None:
            self.peer.start()

    def start_after(self, ms: int) -> None:
        """Try to start again in `ms`, unless something else starts it before."""
        epoch = self.epoch

        def again() -> None:
            if self.epoch == epoch:
                self.start()

        self.world.after(ms, again)

    def crash(self, why: str = "killed") -> None:
        """Kill the process; what is stored stays as it is."""
        if not self.alive and not self.is_busy:
            return
        self.world.counts["broker crashes"] += 1
        self._end(why)
        world = self.world
        world.after(1 if world.fair else world.pick((1, 30, 300, 3_000)), self.start)

    def _end(self, why: str) -> None:
        """End the process, with its connections."""
        self.close_connections(why)
        self.epoch += 1
        self.is_busy = False
        self.storage.end()

    def over(self) -> None:
        """Take note that the process has ended by itself, and start another one."""
        world = self.world
        self.is_busy = False
        self.epoch += 1
        if self._is_leaving and not world.fair and world.rng.random() < 0.3:
            # Peers must know one that stays.
            self.has_retired = any(each.alive for each in world.brokers)
        if not self.has_retired:
            world.after(1 if world.fair else world.pick((1, 100, 1_000)), self.start)

    def close_connections(self, why: str) -> None:
        """Be there for peers no more."""
        self.world.say(self.name, why)
        if not self.alive:
            return
        self.count()
        self.alive = False
        for link in self.world.links:
            connection = link.connection
            if (
                connection is not None
                and connection.broker is self
                and connection.epoch == self.epoch
            ):
                connection.left_by_broker()
        if self.peer is not None:
            self.peer.end()

    def freeze(self, until: int) -> None:
        """Stop the process until this time."""
        self.frozen_until = until
        self.storage.freeze(until)
        if self.peer is not None:
            self.peer.frozen_until = until

    def leave(self) -> None:
        """Handle SIGTERM."""
        if not self.alive or self._is_leaving:
            return
        if self.storage.leave():
            self.world.say(self.name, "is told to leave")
            self.world.counts["brokers told to leave"] += 1
            self._is_leaving = True
            self.wake(0)
        else:
            self.crash()

    def say_goodbye(self) -> None:
        """Tell the peers that this broker leaves, as the last thing."""
        self.send(self.core.stop())

    def count(self) -> None:
        """Add the metrics of this process to the world's sums."""
        counters = self.storage.within(self.core.metrics.read)
        for name in _COUNTED:
            self.world.counts[name.replace("_", " ")] += counters[name]

    @property
    def idle(self) -> bool:
        """True if everything that was received has been processed."""
        return (
            self.alive
            and self.storage.is_idle
            and not self.core.looking_up
            and not self._inbox
            and (self.peer is None or self.peer.idle)
        )

    # The network --------------------------------------------------------------------------------

    def take(self, peer: bytes, frame: bytes) -> None:
        self._inbox.append((peer, frame))
        self.wake(0)

    def lose(self, peer: bytes) -> None:
        self._lost.append(peer)
        self.wake(0)

    def wake(self, ms: int) -> None:
        """Schedule a turn in `ms`, unless one is due sooner."""
        at = max(self.world.now + ms, self.frozen_until)
        if self._due is None or at < self._due:
            self._due = at
            self.world.after(at - self.world.now, self._wakes(at))

    def _wakes(self, at: int) -> Any:
        epoch = self.epoch

        def turn() -> None:
            if self.alive and self.epoch == epoch and self._due == at:
                self._due = None
                if self.frozen_until > self.world.now:
                    self.wake(0)
                else:
                    self._try_turn()

        return turn

    # Turns ----------------------------------------------------------------------------------------

    def _try_turn(self) -> None:
        try:
            self._turn()
        except (DiskError, BrokerError, StoreError) as error:
            # It stops at once, and sends nothing more.
            self.storage.failed(error)

    def _turn(self) -> None:
        core, storage = self.core, self.storage
        storage.take()
        if not self._goes_on():
            return
        if self.peer is not None:
            for command, answer in self.peer.take_answers():
                core.answered(command, answer, self.clock())
        storage.turn()
        if not self._goes_on():
            return
        core.held = not storage.is_fresh
        ahead_ms, text = self.clock.ahead_ms, self.clock.compare()
        if text is not None:
            self.world.say(self.name, text)
            if self.clock.ahead_ms != ahead_ms:
                core.follow(self.clock.ahead_ms)
        now = self.clock()
        if not (core.full and storage.committing is not None):
            self._take_in(now)
        self._lose_connections(now)
        self.step(now)

    def _goes_on(self) -> bool:
        """Return whether the process has not ended, and does not end."""
        return self.alive and not self.storage.is_stopping

    def step(self, now: int) -> None:
        """Let the core make a step, and do what follows from it."""
        core, storage = self.core, self.storage
        step = core.step(now, storage.find)
        self.send(step.frames)
        for event in step.events:
            self.world.say(self.name, event.text, event.fields)
        if step.batch is not None:
            storage.commit(step.batch)
        self._send_requests(core.take_requests(now))
        if core.held or self._is_leaving:
            self.wake(STALE_MS)
        if storage.committing is not None and core.full:
            return
        if storage.is_stopping:
            self.wake(STALE_MS)
        elif self._inbox:
            self.wake(0)
        elif step.due_at is not None:
            self.wake(max(0, step.due_at - now))

    def _take_in(self, now: int) -> None:
        frames = [
            self._inbox.popleft() for _ in range(min(len(self._inbox), self.world.plan.frames_max))
        ]
        self._lose_connections(now)
        if not self._inbox:
            self.core.mark_polled(now)
        for peer, frame in frames:
            self.core.receive(peer, frame, now)

    def _lose_connections(self, now: int) -> None:
        if self._lost:
            lost, self._lost = self._lost, []
            for peer in lost:
                self.core.connection_lost(peer, now)

    def send(self, frames: list[Frame]) -> None:
        """Send frames to peers."""
        for peer, frame in frames:
            connection = self.world.connections.get(peer)
            if connection is not None:
                self.world.say_frame(self.name, connection.link.host.name, frame)
                connection.send_down(frame)

    def _send_requests(self, requests: list[SlotCommand]) -> None:
        """Ask the owners of other slots; what they are told must be on the disk."""
        if not requests:
            return
        assert self.peer is not None
        for request in requests:
            if isinstance(request, PromiseAnnounce):
                row = self.world.row(request.promise.id)
                told, stored = request.promise, None if row is None else row.promise
                same = stored is not None and (told.state, told.value) == (
                    stored.state, stored.value
                )  # fmt: skip
                hold(same, "announced before it is on the disk", told, stored)
        self.peer.send(requests)
