"""The disk of a broker that shares it with nobody: it may fail, and it survives the broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from tests.simulation.observations import Disk, Durable, Memory
from understudy_broker.clock import question
from understudy_broker.core.outbox import Batch
from understudy_store.commands import Reply
from understudy_store.engines.base import SOLE_EPOCH, Read
from understudy_store.records import Row

if TYPE_CHECKING:
    from tests.simulation.broker import BrokerHost

T = TypeVar("T")
YEAR_MS = 365 * 24 * 3_600_000


class DiskError(Exception):
    """The disk is full, or fails."""


class OwnDisk:
    """The store of one broker, on a disk of its own; see `storage.Storage`."""

    def __init__(self, host: BrokerHost, durable: Durable) -> None:
        self._host = host
        world = host.world
        self.memory = Memory(durable)
        self.disk = Disk(
            durable, lambda _: self.memory, lambda id_: world.stored.owner(id_) is host
        )
        #: The next fault: "before" or "after" a write, or at a "read".
        self.fault: str | None = None
        self.committing: Batch | None = None
        self._result: list[Reply] | None = None
        self._found: list[Row] | None = None

    @property
    def name(self) -> str:
        """The name of the disk in a trace."""
        return "disk" if self._host.peer is None else f"disk of {self._host.name}"

    # The process ---------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin a process, unless the clock of its machine cannot be right."""
        host, world = self._host, self._host.world
        self.committing = self._result = self._found = None
        snapshot = self.disk.load()
        wall_ms = world.now + host.skew_ms
        # A new store is not begun at an impossible time. Here that is long before or after the
        # world began: a real broker takes a later time for right, and calls that were made by
        # another clock, before their process had joined it, time out.
        doubtful = abs(wall_ms - world.began) > YEAR_MS
        if question(snapshot, None, wall_ms) if snapshot.now else doubtful:
            world.counts["starts with a doubtful clock"] += 1
            host.start_after(1_000)
            return
        host.begin(snapshot, lambda: (world.now + host.skew_ms) * 1_000_000)

    def history(self) -> dict[str, Row]:
        """Return all that is stored."""
        return self.disk.rows

    def attach(self) -> None:
        """Do nothing: no slots come or leave."""

    def end(self) -> None:
        """Do nothing: the disk stays as it is."""

    def within(self, act: Callable[[], T]) -> T:
        return act()

    def freeze(self, until: int) -> None:
        """Do nothing: the host itself waits."""

    def leave(self) -> bool:
        """Return False: a broker that has a disk of its own hands nothing over."""
        return False

    @property
    def is_fresh(self) -> bool:
        return True

    @property
    def is_idle(self) -> bool:
        return self.committing is None

    # Turns ---------------------------------------------------------------------------------------

    def take(self) -> None:
        """Give the broker what has been read and written since the last turn."""
        host = self._host
        if self._found is not None:
            found, self._found = self._found, None
            host.core.found(found)
        result, batch = self._result, self.committing
        if result is not None and batch is not None:
            self._result = self.committing = None
            host.send(host.core.committed(batch, result))

    def turn(self) -> None:
        """Do nothing: no slots come or leave."""

    def find(self, ids: set[str]) -> list[Row] | None:
        """Answer at once, as SQLite does, or later, as a database behind a network would."""
        delay_ms = self._host.world.lookup_ms()
        if not delay_ms:
            return self._read(ids)
        self._after(delay_ms, lambda: self._read_later(ids))
        return None

    def _read(self, ids: set[str]) -> list[Row]:
        if self.fault == "read":
            self._fails()
            raise DiskError("a read failed")
        return self.disk.find(ids)

    def _read_later(self, ids: set[str]) -> None:
        try:
            self._found = self._read(ids)
        except DiskError as error:
            self.failed(error)
        else:
            self._host.wake(0)

    def commit(self, batch: Batch) -> None:
        """Begin to write a batch."""
        self.committing = batch
        self._after(self._host.world.disk_ms(), lambda: self._write(batch))

    def _after(self, ms: int, act: Callable[[], None]) -> None:
        """Call `act` in `ms`, or when the broker thaws, if this process is still alive then."""
        host, epoch = self._host, self._host.epoch

        def due() -> None:
            if not host.alive or host.epoch != epoch:
                return
            if host.frozen_until > host.world.now:
                host.world.after(host.frozen_until - host.world.now, due)
            else:
                act()

        host.world.after(ms, due)

    def _write(self, batch: Batch) -> None:
        world = self._host.world
        if self.fault == "before":
            self._fails()
            self._host.crash("a write failed")
            return
        reads = [Read(owed.command, owed.now) for owed in batch.reads]
        result = self.disk.commit(batch.changes, reads, SOLE_EPOCH)
        world.counts["commits"] += 1
        world.told_at = world.events
        world.say(self.name, "commits", batch.changes)
        if self.fault == "after":
            self._fails()
            self._host.crash("written, but reported as failed")
            return
        self._result = result
        self._host.wake(0)

    def _fails(self) -> None:
        self.fault = None
        self._host.world.counts["disk failures"] += 1

    def failed(self, error: Exception) -> None:
        """Stop the broker at once; it sends nothing more."""
        self._host.crash(str(error))

    @property
    def is_stopping(self) -> bool:
        return False

    def unfinished(self) -> list[str]:
        """Return what is pending on the disk."""
        pending = [id_ for id_, row in self.disk.rows.items() if not row.promise.settled]
        return [f"the store of {self._host.name} has {pending}"] if pending else []

    def waiting(self) -> list[tuple[str, str]]:
        """Return who waits for what, on the disk."""
        return self.disk.waiting
