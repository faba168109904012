"""A broker's process: the real core on a simulated disk, driven as `Server` drives it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.simulation.checks import Watched
from tests.simulation.observations import Disk, Memory, hold
from tests.simulation.slot_peer import SlotPeer
from understudy_broker.clock import Clock, question
from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.core import BrokerCore
from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.outbox import Batch, Frame
from understudy_broker.protocol.frames import FrameLimits
from understudy_broker.protocol.messages import SlotCommand, SlotMap
from understudy_store.commands import PromiseAnnounce, Reply
from understudy_store.engines.base import SOLE_EPOCH, Read
from understudy_store.machine import MachineConfig
from understudy_store.records import Row

if TYPE_CHECKING:
    from tests.simulation.world import World

NS = 1_000_000
YEAR_MS = 365 * 24 * 3_600_000
#: Short, so that promises that are idle for a moment are packed.
COOL_AFTER_MS = 500
#: Metrics of the core that show how many faults reached it.
_COUNTED = (
    "stale_writes", "frames_repeated", "frames_missing", "leases_lapsed", "refused", "parked",
)  # fmt: skip


class DiskError(Exception):
    """The disk is full, or fails."""


class BrokerHost:
    """A broker that may crash or freeze, and whose disk may fail."""

    def __init__(self, world: World, name: str, slots: SlotMap | None) -> None:
        self.world = world
        self.name = name
        self.memory = Memory(world.count)
        self.disk = Disk(self.memory, lambda id_: world.owner(id_) is self)
        #: The links to all brokers, if there are several.
        self.peer: SlotPeer | None = None
        #: The number of the current process; events of an earlier one have no effect.
        self.epoch = 0
        self.alive = False
        self.frozen_until = 0
        #: The offset of the machine's wall clock.
        self.skew_ms = 0
        self.was_set = False
        #: The next fault of the disk: "before" or "after" a write, or at a "read".
        self.disk_fault: str | None = None
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

    def start(self) -> None:
        """Start a process, which continues from the state on the disk."""
        if self.alive:
            return
        world, plan = self.world, self.world.plan
        snapshot = self.disk.load()
        wall_ms = world.now + self.skew_ms
        # A new store is not begun at an impossible time. Here that is long before the world began,
        # or where there are others, whose clocks must agree, long after it, too.
        ahead_ms = wall_ms - world.began
        doubtful = ahead_ms < -YEAR_MS or (self.peer is not None and ahead_ms > YEAR_MS)
        if question(snapshot, None, wall_ms) if snapshot.now else doubtful:
            world.counts["starts with a doubtful clock"] += 1
            self.epoch += 1
            self._after_start(1_000)
            return
        self.epoch += 1
        self.alive = True
        self.clock = Clock(
            snapshot.now,
            wall_ns=lambda: (world.now + self.skew_ms) * NS,
            elapsed_ns=lambda: world.now * NS,
        )
        self.machine = Watched(
            MachineConfig(
                retry_timeout_ms=plan.retry_timeout_ms,
                pack_after_ms=COOL_AFTER_MS,
                sharded=self.config.slots is not None,
            ),
            self.memory,
            self.disk,
        )
        self.core = BrokerCore(self.machine, Dispatcher(self.config.credit_max), self.config)
        self.core.start(snapshot, self.clock(), self.clock.ahead_ms)
        self._inbox: deque[tuple[bytes, bytes]] = deque()
        self._lost: list[bytes] = []
        self._committing: Batch | None = None
        self._result: list[Reply] | None = None
        self._found: list[Row] | None = None
        self._due: int | None = None
        self.wake(0)
        if self.peer is not None:
            self.peer.start()

    def _after_start(self, ms: int) -> None:
        """Try to start again in `ms`, unless something else starts it before."""
        epoch = self.epoch

        def again() -> None:
            if self.epoch == epoch:
                self.start()

        self.world.after(ms, again)

    def crash(self, why: str = "killed") -> None:
        """Kill the process; the disk stays as it is."""
        if not self.alive:
            return
        world = self.world
        world.say(self.name, why)
        world.counts["broker crashes"] += 1
        self.count()
        self.alive = False
        for link in world.links:
            connection = link.connection
            if link.broker is self and connection is not None and connection.epoch == self.epoch:
                connection.left_by_broker()
        self.epoch += 1
        if self.peer is not None:
            self.peer.end()
        world.after(1 if world.fair else world.pick((1, 30, 300, 3_000)), self.start)

    def freeze(self, until: int) -> None:
        """Stop the process until this time."""
        self.frozen_until = until
        if self.peer is not None:
            self.peer.frozen_until = until

    def count(self) -> None:
        """Add the metrics of this process to the world's sums."""
        counters = self.core.metrics.read()
        for name in _COUNTED:
            self.world.counts[name.replace("_", " ")] += counters[name]

    @property
    def disk_name(self) -> str:
        """The name of the disk in a trace."""
        return "disk" if self.peer is None else f"disk of {self.name}"

    @property
    def idle(self) -> bool:
        """True if everything that was received has been processed."""
        return (
            self.alive
            and self._committing is None
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
                    self._turn()

        return turn

    # Turns ----------------------------------------------------------------------------------------

    def _turn(self) -> None:
        core = self.core
        self._take_results()
        ahead_ms, text = self.clock.ahead_ms, self.clock.compare()
        if text is not None:
            self.world.say(self.name, text)
            if self.clock.ahead_ms != ahead_ms:
                self.core.follow(self.clock.ahead_ms)
        now = self.clock()
        if not (core.full and self._committing is not None):
            self._take_in(now)
        self._lose_connections(now)
        try:
            step = core.step(now, self._find)
        except DiskError as error:
            self._disk_failed(str(error))
            return
        self._send(step.frames)
        for event in step.events:
            self.world.say(self.name, event.text, event.fields)
        if step.batch is not None:
            self._commit(step.batch)
        self._send_requests(core.take_requests(now))
        if self._committing is not None and core.full:
            return
        if self._inbox:
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

    def _send(self, frames: list[Frame]) -> None:
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
                told, stored = request.promise, self.disk.rows[request.promise.id].promise
                same = (told.state, told.value) == (stored.state, stored.value)
                hold(same, "announced before it is on the disk", told, stored)
        self.peer.send(requests)

    # The disk ------------------------------------------------------------------------------------

    def _find(self, ids: set[str]) -> list[Row] | None:
        """Answer at once, as SQLite does, or later, as a database behind a network would."""
        delay_ms = self.world.lookup_ms()
        if not delay_ms:
            return self._read(ids)
        self._after(delay_ms, lambda: self._read_later(ids))
        return None

    def _read(self, ids: set[str]) -> list[Row]:
        if self.disk_fault == "read":
            raise DiskError("a read failed")
        return self.disk.find(ids)

    def _read_later(self, ids: set[str]) -> None:
        try:
            self._found = self._read(ids)
        except DiskError as error:
            self._disk_failed(str(error))
        else:
            self.wake(0)

    def _commit(self, batch: Batch) -> None:
        self._committing = batch
        self._after(self.world.disk_ms(), lambda: self._write(batch))

    def _after(self, ms: int, act: Callable[[], None]) -> None:
        """Call `act` in `ms`, or when the broker thaws, if this process is still alive then."""
        epoch = self.epoch

        def due() -> None:
            if not self.alive or self.epoch != epoch:
                return
            if self.frozen_until > self.world.now:
                self.world.after(self.frozen_until - self.world.now, due)
            else:
                act()

        self.world.after(ms, due)

    def _write(self, batch: Batch) -> None:
        if self.disk_fault == "before":
            self._disk_failed("a write failed")
            return
        reads = [Read(owed.command, owed.now) for owed in batch.reads]
        result = self.disk.commit(batch.changes, reads, SOLE_EPOCH)
        self.world.counts["commits"] += 1
        self.world.told_at = self.world.events
        self.world.say(self.disk_name, "commits", batch.changes)
        if self.disk_fault == "after":
            self._disk_failed("written, but reported as failed")
            return
        self._result = result
        self.wake(0)

    def _disk_failed(self, why: str) -> None:
        """Stop at once, and send nothing more."""
        self.disk_fault = None
        self.world.counts["disk failures"] += 1
        self.crash(why)

    def _take_results(self) -> None:
        """Take the answers of the disk since the last turn."""
        if self._found is not None:
            found, self._found = self._found, None
            self.core.found(found)
        result, batch = self._result, self._committing
        if result is not None and batch is not None:
            self._result = self._committing = None
            self._send(self.core.committed(batch, result))
        if self.peer is not None:
            for command, answer in self.peer.take_answers():
                self.core.answered(command, answer, self.clock())
