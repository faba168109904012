"""Two stores that get the same commands: one keeps everything in memory, the other a database.

The first is the reference. Its machine is never told that a batch is durable, so it forgets nothing
until it is opened again, and it gets one command at a time. The second is driven as the broker
drives it: it looks up the ids of a whole batch, has one batch in flight while the next is applied,
and forgets what is durable. After each batch, both stores must have the same replies, the same
messages to send, the same changes, the same live state in memory and the same stored rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from tests.stored_tags import tags_in_order
from tests.unit.store.machine.properties import check_state
from understudy_store.changes import Changes, Snapshot
from understudy_store.commands import Command, ReadCommand, Reply, StoreCommand
from understudy_store.engines.base import Engine, Read
from understudy_store.engines.memory import MemoryEngine
from understudy_store.machine import Machine, MachineConfig
from understudy_store.machine.packed import all_promises
from understudy_store.records import Row

#: A step other than a command: a node leaves or comes back, or an unblock arrives.
Move: TypeAlias = Callable[[Machine], object]
Moment: TypeAlias = Literal["early", "middle", "late"]
#: After one batch in so many the snapshots are compared. To load one brings the journal into the
#: tables, so between two of them the journal has something to recover from.
COMPARED_BATCHES = 4


class Difference(AssertionError):
    """The two stores differ."""


def same(what: str, memory: object, stored: object) -> None:
    """Raise `Difference` unless the two are equal."""
    if memory == stored:
        return
    if isinstance(memory, list) and isinstance(stored, list) and len(memory) == len(stored):
        for n, (one, other) in enumerate(zip(memory, stored, strict=True)):
            same(f"{what}[{n}]", one, other)
    if isinstance(memory, Mapping) and isinstance(stored, Mapping):
        for key in [*memory, *stored]:
            same(f"{what}[{key!r}]", memory.get(key), stored.get(key))
    if isinstance(memory, msgspec.Struct) and type(memory) is type(stored):
        for name in memory.__struct_fields__:
            same(f"{what}.{name}", getattr(memory, name), getattr(stored, name))
    raise Difference(f"{what}: in memory {memory!r}, in the database {stored!r}")


def in_order(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot sorted by keys, because an engine may return rows in any order."""
    return Snapshot(
        snapshot.now,
        sorted(map(tags_in_order, snapshot.live), key=lambda row: row.id),
        sorted(snapshot.callbacks),
        sorted(snapshot.listeners),
        sorted(snapshot.unblocks, key=lambda owed: (owed[0].id, owed[1])),
        sorted(snapshot.schedules, key=lambda schedule: schedule.id),
    )


class Place(Protocol):
    """The place of the store with a database: files, or a schema."""

    def open(self) -> Engine:
        """Open it as it is now."""

    def leave(self, engine: Engine) -> None:
        """Keep for the next `open` what SIGKILL would leave; `engine` has it open until now."""

    def remove(self) -> None:
        """Remove all of it."""


class Side:
    """A machine over an engine."""

    def __init__(self, engine: Engine, config: MachineConfig, now: int) -> None:
        self.engine = engine
        self.machine = Machine(config)
        snapshot = engine.load()
        self._epoch = snapshot.epoch
        self.machine.restore(in_order(snapshot), now)

    def load(self, ids: Iterable[str]) -> None:
        """Load the rows of `ids` from the engine into the machine."""
        wanted = sorted(ids)
        if wanted:
            self.machine.load(sorted(self.engine.find(wanted), key=lambda row: row.promise.id))

    def commit(self, changes: Changes, reads: Sequence[Read]) -> list[Reply]:
        """Commit to the engine; return its replies."""
        return self.engine.commit(changes, reads, self._epoch)

    def owed(self) -> dict[str, Any]:
        """Take the messages that the machine owes."""
        m = self.machine
        return {
            "executes": m.take_executes(),
            "settled": m.take_settled(),
            "unblocks": m.take_unblocks(),
            "revoked": m.take_revoked(),
        }

    def live(self) -> dict[str, Any]:
        """Return all state in memory, except for settled promises.

        These may stay in memory for different times on the two sides.
        """
        s = self.machine.state
        statistics = msgspec.structs.asdict(self.machine.view.statistics())
        del statistics["promises_in_memory"]
        promises = {
            each.record.id: (
                each.record,
                each.task and (each.task.record(), each.task.warm),
                each.callbacks and list(each.callbacks),
                each.listeners and list(each.listeners),
            )
            for each in all_promises(s)
            if each.record.settled_at is None
        }
        holders = {pid: (sorted(h.held), sorted(h.warm)) for pid, h in s.holders.items()}
        return {
            "promises": promises,
            "holders": holders,
            "unblocks": s.unblocks,
            "schedules": s.schedules,
            "statistics": statistics,
            "next due": self.machine.next_due(),
        }


class Pair:
    """The two sides, driven in parallel; `land` makes a batch durable in both.

    Parameters
    ----------
    place
        The place of the other store.
    """

    def __init__(self, place: Place, config: MachineConfig, now: int) -> None:
        self._place = place
        self._config = msgspec.structs.replace(config, pack_after_ms=0)
        # Idle promises are packed at once on one side, and never on the other.
        self._warm = msgspec.structs.replace(config, pack_after_ms=2**62)
        self.memory = Side(MemoryEngine(), self._warm, now)
        self.stored = Side(place.open(), self._config, now)
        #: All durable rows.
        self.rows: dict[str, Row] = {}
        self._flight: tuple[Changes, list[Read]] | None = None
        self._landed = 0

    # ---- one batch ------------------------------------------------------------------------------

    def ask(self, command: StoreCommand, now: int) -> Reply:
        """Apply a command to the reference; return its reply."""
        machine = self.memory.machine
        self.memory.load(machine.lookups([command]))
        return machine.apply(command, now)

    def move(self, move: Move) -> object:
        """Apply a move to the reference; return its outcome."""
        return move(self.memory.machine)

    def follow(
        self, steps: Sequence[StoreCommand | Move], outcomes: list[Any], now: int, land: Moment
    ) -> Changes:
        """Apply the same steps to the other side as one batch, and compare; return its changes.

        Parameters
        ----------
        outcomes
            The results of `ask` and `move` for each of `steps`.
        land
            The moment at which the batch in flight becomes durable.
        """
        if land == "early":
            self.land()
        machine = self.stored.machine
        commands = [step for step in steps if isinstance(step, Command)]
        self.stored.load(machine.lookups(commands) | machine.due_lookups(now))
        if land == "middle":
            self.land()
        same(
            "replies",
            outcomes,
            [
                machine.apply(step, now) if isinstance(step, Command) else step(machine)
                for step in steps
            ],
        )
        reference = self.memory.machine
        self.memory.load(reference.due_lookups(now))
        same("more is due", reference.sweep(now), machine.sweep(now))
        same("owed", self.memory.owed(), self.stored.owed())
        self.land()
        changes = self.stored.machine.take()
        same("changes", reference.take(), changes)
        reads = [
            Read(step, now)
            for step, reply in zip(steps, outcomes, strict=True)
            if isinstance(step, ReadCommand) and reply.status == 200
        ]
        self._flight = changes, reads
        same("live", self.memory.live(), self.stored.live())
        return changes

    def land(self) -> None:
        """Make the batch in flight durable; compare the replies to reads, and both stores."""
        if self._flight is None:
            return
        (changes, reads), self._flight = self._flight, None
        same(
            "reads",
            self.memory.commit(changes, reads),
            self.stored.commit(changes, reads),
        )
        self.stored.machine.committed(changes)
        written = {row.promise.id: row for row in (*changes.inserted, *changes.updated)}
        self.rows |= written
        same("rows written", written, self._found(self.stored, written))
        self._landed += 1
        if self._landed % COMPARED_BATCHES == 0:
            self.compare_snapshots()

    def compare_snapshots(self) -> None:
        """Compare all that the two engines keep for a restart."""
        same("snapshot", in_order(self.memory.engine.load()), in_order(self.stored.engine.load()))

    # ---- a restart ------------------------------------------------------------------------------

    def reopen(self, now: int, killed: bool) -> None:
        """Restart both sides from what is durable, and lose the batch in flight.

        Every row is compared.
        """
        self._flight = None
        if killed:
            self._place.leave(self.stored.engine)
        self.stored.engine.close()
        self.stored = Side(self._place.open(), self._config, now)
        self.memory = Side(self.memory.engine, self._warm, now)
        self.compare_all()
        same("live", self.memory.live(), self.stored.live())

    def compare_all(self) -> None:
        """Compare every row that ever became durable; check the properties of both machines."""
        self.compare_snapshots()
        same("rows", self.rows, self._found(self.memory, self.rows))
        same("rows", self.rows, self._found(self.stored, self.rows))
        check_state(self.memory.machine)
        check_state(self.stored.machine, self.rows)

    @staticmethod
    def _found(side: Side, ids: Iterable[str]) -> dict[str, Row]:
        return {row.promise.id: row for row in side.engine.find(list(ids))}

    def close(self) -> None:
        """Close the store with the database."""
        self.stored.engine.close()
