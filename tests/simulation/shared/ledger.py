"""The ledger: every commit of the shared database in its order, and what must hold for each.

It hears of each transaction when that is committed. What is durable is then known independently of
the tables, and of who reads them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.observations import Disk, Durable, Memory, hold
from tests.simulation.shared.server import Server, SlotRow, Table, Tables, WriterRow
from understudy_store.changes import Changes, Snapshot
from understudy_store.engines.journaled.journal_records import decode
from understudy_store.engines.journaled.replay import completed
from understudy_store.engines.sql.rows import row_of
from understudy_store.records import Row
from understudy_store.slots import slot_of

if TYPE_CHECKING:
    from tests.simulation.shared.threads import Process
    from tests.simulation.world import World

#: A broker that was neither stopped nor cut off for so long has beaten, whatever the database did:
#: a lease, and the pause between two attempts to connect.
UNHINDERED_MS: Final = 5_000


class Ledger:
    """All that is durable in a shared database.

    Attributes
    ----------
    disk
        What the commits make of an empty store.
    writers
        The observations on the machine of each writer, by its id.
    """

    def __init__(self, world: World, durable: Durable) -> None:
        self.world = world
        self.durable = durable
        #: Set once there is one.
        self.server: Server
        self.disk = Disk(durable, self.memory_of, lambda _: True, one_clock=False)
        self.writers: dict[int, Memory] = {}
        #: The process of each writer.
        self.processes: dict[int, Process] = {}
        #: The writer of the commit that is being looked at.
        self._writer = 0
        #: The last commit of each writer, and the greatest time in each slot.
        self._numbers: dict[int, int] = {}
        self._now_of: dict[int, int] = {}
        #: Who committed in each epoch of a slot.
        self._owner_in: dict[tuple[int, int], int] = {}
        #: The slots of the snapshots that were loaded, by the identity of each.
        self._loaded: dict[int, tuple[Snapshot, frozenset[int]]] = {}
        #: True once the database has lost commits: what it says now is something else.
        self.has_lost = False

    def memory_of(self, _id: str) -> Memory:
        return self.writers[self._writer]

    def rows_in(self, slots: Collection[int]) -> dict[str, Row]:
        """Return the rows of some slots."""
        rows = self.disk.rows
        return {id_: row for id_, row in rows.items() if slot_of(id_) in slots}

    def on_read(self, values: tuple[Any, ...]) -> None:
        """Check a row that a broker has read in one of its slots."""
        row = row_of(values)
        hold(self.disk.rows.get(row.promise.id) == row, "p17: read something else", row)

    def on_answer(self, writer: int) -> None:
        """Check that a broker which answers from its slots has them: otherwise nothing is there."""
        hold(not self.is_fenced(writer), "p17: a fenced broker answers a read", writer)

    def on_late(self, writer: int) -> None:
        """Check that a broker whose pulse is old could not beat: whoever can is left alone."""
        process = self.processes.get(writer)
        if process is not None and process.alive:
            since = self.world.now - process.hindered_until
            hold(
                since < UNHINDERED_MS, "p28: a broker that lives is taken over from", writer, since
            )

    # Commits -------------------------------------------------------------------------------------

    def on_commit(self, before: Tables, wrote: Mapping[str, Table], taken: Sequence[int]) -> None:
        """Take note of a transaction of the database, and whom it has taken over from."""
        if self.has_lost:
            return
        tables = self.server.tables
        for (writer, number), data in sorted(wrote.get("journal", {}).items()):
            if data is not None and (writer, number) not in before["journal"]:
                self._committed(tables, writer, number, data)
        if moved := wrote.get("slot"):
            self._moved(before, tables, moved)
        for slot, row in tables["slot"].items() if taken else ():
            hold(row.writer not in taken, "p27: taken over without its slots", slot, row, taken)

    def _committed(self, tables: Tables, writer: int, number: int, data: bytes) -> None:
        world = self.world
        row: WriterRow = tables["writer"][writer]
        hold(not row.fenced, "p27: a fenced broker has committed", writer, number)
        before = self._numbers.get(writer, 0)
        hold(number == before + 1, "p27: a commit is missing or there twice", writer, number)
        self._numbers[writer] = number
        decoded = decode(data)
        changes = completed(decoded, self.disk.rows)
        for slot in _slots_of(changes):
            owner: SlotRow = tables["slot"][slot]
            hold(owner.writer == writer, "p26: a commit to a slot of another", slot, owner, writer)
            known = self._owner_in.setdefault((slot, owner.epoch), writer)
            hold(known == writer, "p26: two owners in one epoch", slot, owner, known, writer)
            hold(
                changes.now >= self._now_of.get(slot, 0),
                "time in a slot goes back", slot, changes.now, self._now_of.get(slot),
            )  # fmt: skip
            self._now_of[slot] = changes.now
        self._writer = writer
        self.disk.keep(changes)
        world.counts["commits"] += 1
        world.told_at = world.events
        world.say(f"writer {writer}", "commits", number, changes)

    def _moved(self, before: Tables, tables: Tables, moved: Table) -> None:
        """Check that the tables have everything of slots that go to another owner."""
        world = self.world
        slots = frozenset(moved)
        for slot, row in moved.items():
            old: SlotRow = before["slot"][slot]
            hold(row.epoch == old.epoch + 1, "p26: an epoch is left out", slot, old, row)
            world.counts["slots moved"] += old.writer is not None
        owners = sorted({str(before["slot"][slot].writer) for slot in slots})
        gets = sorted({str(row.writer) for row in moved.values()})
        world.say("database", "moves", len(slots), owners, "to", gets)
        promises = tables["promise"]
        for id_, row in self.rows_in(slots).items():
            stored = promises.get(id_)
            hold(stored is not None, "p26: lost when its slot moved", id_, row)
            if stored is not None:
                hold(row_of(stored) == row, "p26: changed when its slot moved", row, stored)

    def is_fenced(self, writer: int | None) -> bool:
        """Return whether a writer is fenced, or unknown."""
        row: WriterRow | None = self._tables["writer"].get(writer)
        return row is None or row.fenced

    def living(self) -> list[tuple[int, str]]:
        """Return the brokers that have slots or may be given some: id and name."""
        rows: Table = self._tables["writer"]
        return [
            (id_, row.name) for id_, row in sorted(rows.items()) if row.joined and not row.fenced
        ]

    @property
    def _tables(self) -> Tables:
        return self.server.tables

    # What brokers load ---------------------------------------------------------------------------

    def note_loaded(self, writer: int, snapshot: Snapshot, slots: Collection[int]) -> None:
        """Check what a broker has loaded of slots, and remember which those are."""
        wanted = frozenset(slots)
        pending = {id_: row for id_, row in self.rows_in(wanted).items() if not row.promise.settled}
        if not self.has_lost and not self.is_fenced(writer):
            loaded = {row.id: row.row() for row in snapshot.live}
            hold(loaded == pending, "p26: a broker has loaded something else", loaded, pending)
        self._loaded[id(snapshot)] = snapshot, wanted

    def slots_of(self, snapshot: Snapshot) -> frozenset[int]:
        """Return the slots that a snapshot is of."""
        return self._loaded.pop(id(snapshot))[1]


def _slots_of(changes: Changes) -> set[int]:
    """Return the slots that a commit concerns."""
    ids = [row.promise.id for row in (*changes.inserted, *changes.updated)]
    for pairs in (changes.callbacks_added, changes.listeners_added, changes.unblocks_added):
        ids += [id_ for id_, _ in pairs]
    ids += [id_ for id_, _ in changes.unblocks_removed]
    ids += [*changes.callbacks_removed, *changes.listeners_removed]
    ids += [schedule.id for schedule in changes.schedules_put]
    return {slot_of(id_) for id_ in [*ids, *changes.schedules_deleted]}
