"""The life of a store before the power is lost, with every write recorded.

A life is one or more sessions of the real `Store` on one file. It may begin with nothing or with a
file of an earlier schema. A session may end with a close; with the death of its process at any
event, which loses nothing that was written; or with a loss of power, after which the next session
continues with the files that are left. The lengths of SQLite's log and of the journal are drawn
too, so that some lives have many checkpoints and often change halves of the journal.

If `Sizes.free` is false, the script decides when the journal is brought into the file, and every
event of the life follows from its seed. In a free life the store's own thread does this at any
time, in parallel with the commits. Then neither the order of events nor anything after a session
that was cut short follows from the seed, so a failure may not occur again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from random import Random
from threading import Event as Flag
from typing import NamedTuple
from unittest import mock

import msgspec

from tests.differential.author import Author
from tests.differential.pair import Difference, in_order, same
from tests.powerloss.disk import MANNERS, Disk
from tests.powerloss.events import Acknowledged, Begun, Event, Lost, Opened
from tests.powerloss.follower import Follower
from tests.powerloss.recorder import Recorder
from tests.unit.store.answers import commits_by_writer, committed
from understudy_store.changes import Changes, Snapshot
from understudy_store.commands import PromiseSearch, RetentionRead
from understudy_store.engines.base import SOLE_EPOCH, Read
from understudy_store.engines.journaled import journaled_table
from understudy_store.engines.memory import MemoryEngine
from understudy_store.engines.sql import migrations
from understudy_store.engines.sqlite import database, journal
from understudy_store.errors import StoreFailedError
from understudy_store.machine import Machine, MachineConfig
from understudy_store.pending_row import to_pending_row
from understudy_store.records import COURSE, PLAN, RetentionRules, Row
from understudy_store.store import Store, open_store

NAME = "store.db"
REAL_LOG_KIB = database.LOG_BYTES // 1024
#: Batches in a file of an earlier schema.
AGED_BATCHES = 4
#: what later releases have added
LATER_INDEXES = ("promise_ended", "promise_kept", "promise_gone", "promise_stray")
LATER_COLUMNS = (
    *("node", "started_at", "acquired_at", "queued_at", "suspensions", "logged"),
    *("function", "error", "retention"),
)
#: the chance that a batch has a purge
PURGES = 0.3
CONFIG = MachineConfig(retry_timeout_ms=20, sweep_max=1000, missed_max=2)


class State(NamedTuple):
    """The content of a store after a number of batches."""

    snapshot: Snapshot
    rows: dict[str, Row]


class Sizes(NamedTuple):
    """Sizes of the files to which a store writes."""

    #: The size of SQLite's log before it is moved to the file.
    log_kib: int = 32
    #: The size of one half of the journal.
    half_kib: int = 16
    #: The largest record for the journal, at most a half; larger commits bypass the journal.
    record_kib: int = 16
    #: True if the store's own thread brings the journal into the file at any time.
    free: bool = False

    @contextmanager
    def used(self) -> Iterator[None]:
        """Give these sizes to all stores that are opened within."""
        lag_s, lag_rows = (0.001, 5) if self.free else (3600.0, 1_000_000)
        with ExitStack() as stack:
            for module, name, value in (
                (database, "LOG_BYTES", self.log_kib * 1024),
                (journal, "HALF_BYTES", self.half_kib * 1024),
                (journal, "RECORD_BYTES_MAX", self.record_kib * 1024),
                (journaled_table, "LAG_S", lag_s),
                (journaled_table, "LAG_ROWS", lag_rows),
            ):
                stack.enter_context(mock.patch.object(module, name, value))
            yield


def drawn(random: Random) -> Sizes:
    """Draw sizes. They are small because an image with a journal of the real size has 16 MiB."""
    half_kib = random.choice([8, 16, 16, 32, 64])
    return Sizes(
        random.choices([32, 64, 256, REAL_LOG_KIB], [5, 10, 4, 1])[0],
        half_kib,
        min(half_kib, random.choice([4, 8, 64])),
        random.random() < 0.2,
    )


class Maker:
    """Make batches: the changes that a machine decides on."""

    def __init__(self, seed: int) -> None:
        self.author = Author(seed)
        self.adopt([])

    def adopt(self, batches: Sequence[Changes]) -> None:
        """Continue after these batches."""
        self.changes: list[Changes] = []
        self.engine = MemoryEngine()
        #: The content of the store, by number of batches.
        self.states = [State(in_order(self.engine.load()), {})]
        for changes in batches:
            self._keep(changes)
        self.machine = Machine(CONFIG)
        self.machine.restore(self.states[-1].snapshot, self.author.now)
        rows = self.states[-1].rows.values()
        self.author.promises_now = {row.promise.id: row.promise for row in rows}
        self.author.tasks_now = {row.promise.id: row.task for row in rows if row.task}

    def batch(self) -> Changes:
        """Return the next batch, which is never empty and later than all earlier ones."""
        machine, author = self.machine, self.author
        while True:
            author.time += author.random.choice([1, 2, 10, 30])
            for _ in range(author.random.choice([1, 3, 10, 100, 200])):
                command = author.command()
                machine.load(self.engine.find(sorted(machine.lookups([command]))))
                machine.apply(command, author.now)
                self._see()
            machine.load(self.engine.find(sorted(machine.due_lookups(author.now))))
            machine.sweep(author.now)
            self._see()
            if author.random.random() < PURGES:
                self._purge()
            changes = machine.take()
            machine.committed(changes)
            if changes:
                self._keep(changes)
                return changes

    def _purge(self) -> None:
        """Delete some of what has ended; the ids of some of it stay taken."""
        kind = self.author.random.choice(["values", "graphs", "graphs", "gone"])
        rules = RetentionRules(0, values=0, idempotency=self.author.random.choice([0, 50]))
        found = self.engine.search(Read(RetentionRead(kind, rules), self.author.now), 10.0)
        self.machine.purge(kind, found.ended or [], rules, self.author.now)

    def _see(self) -> None:
        for each in self.machine.state.dirty.values():
            self.author.promises_now[each.record.id] = each.record
            if each.task is not None:
                self.author.tasks_now[each.record.id] = each.task.record()

    def _keep(self, changes: Changes) -> None:
        self.engine.commit(changes, [], SOLE_EPOCH)
        self.changes.append(changes)
        written = {
            row.promise.id: row for row in (*changes.replaced, *changes.inserted, *changes.updated)
        }
        purged = frozenset(changes.purged)
        left = {id_: row for id_, row in self.states[-1].rows.items() if id_ not in purged}
        self.states.append(State(in_order(self.engine.load()), left | written))
        for id_ in purged - written.keys():
            self.author.promises_now.pop(id_, None)
            self.author.tasks_now.pop(id_, None)


def batches_in(states: Sequence[State], snapshot: Snapshot) -> int:
    """Return the number of batches after which a store has this content.

    It is found by the time of the store, because each batch has a time of its own.

    Raises
    ------
    Difference
        The store does not have this content after any number of batches.
    """
    times = [state.snapshot.now for state in states]
    if snapshot.now not in times:
        raise Difference(f"a store of time {snapshot.now}, which no batch had")
    batches = times.index(snapshot.now)
    same("snapshot", _aged(states[batches].snapshot), _aged(in_order(snapshot)))
    return batches


def _aged(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot without crash counts, which the first release did not store.

    Other comparisons, of whole rows, check that the counts are kept.
    """
    live = [to_pending_row(each.row()) for each in snapshot.live]
    return msgspec.structs.replace(snapshot, live=live)


class BatchBounds:
    """The number of batches that a store must have, and the number that it may have."""

    def __init__(self, batches: int = 0) -> None:
        self.at_least = self.at_most = batches

    def apply(self, event: Event) -> None:
        """Apply one more event."""
        match event:
            case Begun(batch):
                self.at_most = batch
            case Acknowledged(batch):
                self.at_least = batch
            case Opened(batches):
                # A batch that was seen once must be seen again, even if it was not acknowledged.
                self.at_least = self.at_most = batches
            case _:
                pass


class Session(NamedTuple):
    """The events of one process, and the states that its batches lead to."""

    events: list[Event]
    states: list[State]


class Life:
    """All sessions of one store; `before` has the files that the disk held at first."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.maker = Maker(seed)
        self.random = draw = self.maker.author.random
        self.sizes = drawn(draw)
        self.before: dict[str, bytes] = {}
        self.batches_before = 0
        self.sessions: list[Session] = []
        self._folder = folder
        with self.sizes.used():
            if draw.random() < 0.2:
                self._age()
            most = draw.choice([1, 2, 2, 3])
            for number in range(most):
                self._session(number)
                if number + 1 < most:
                    self._end(draw.choice(["closed", "killed", "killed", "lost"]))

    # ---- the beginning --------------------------------------------------------------------------

    def _age(self) -> None:
        """Begin with a file of the first release, whose schema has no crash counts."""
        path = self._folder / "aged" / NAME
        path.parent.mkdir(parents=True)
        store = open_store(str(path))
        batches = [_without_deaths(self.maker.batch()) for _ in range(AGED_BATCHES)]
        for changes in batches:
            assert committed(store, changes) == []
        store.close()
        with closing(sqlite3.connect(path)) as file:
            for column in ("deaths", "cause"):
                file.execute(f"ALTER TABLE promise DROP COLUMN {column}")
            indexes = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
            for (name,) in file.execute(indexes).fetchall():
                if name.startswith("call_") or name in LATER_INDEXES:
                    file.execute(f"DROP INDEX {name}")
            for column in LATER_COLUMNS:
                file.execute(f"ALTER TABLE promise DROP COLUMN {column}")
            for column in ("plan", "course"):
                file.execute(f"ALTER TABLE schedule DROP COLUMN {column}")
            file.execute("DROP TABLE attempt")
            file.execute("DROP INDEX promise_detached")
            file.execute("ALTER TABLE promise RENAME COLUMN slot TO shard")
            file.execute("ALTER TABLE promise DROP COLUMN awaits")
            for table in ("callback", "listener", "unblock", "schedule"):
                file.execute(f"ALTER TABLE {table} DROP COLUMN slot")
            file.execute("DELETE FROM meta WHERE key IN ('store', 'commit', 'journal')")
            file.execute(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '0001'")
            file.commit()
        self.before = {NAME: path.read_bytes()}
        self.batches_before = len(batches)
        self.maker.adopt(batches)

    # ---- sessions -------------------------------------------------------------------------------

    def _session(self, number: int) -> None:
        """Open the store, commit some batches, and close it."""
        disk, sure = self._now()
        folder = self._folder / f"session-{number}"
        write_files(folder, disk.visible())
        recorder = Recorder(folder)
        with recorder.recording(), closing(open_store(str(folder / NAME))) as store:
            batches = batches_in(self.maker.states, store.snapshot)
            assert sure.at_least <= batches <= sure.at_most, "not what was committed before"
            recorder.log.append(Opened(batches))
            self.maker.adopt(self.maker.changes[:batches])
            follower = None if self.sizes.free else Follower(store)
            for _ in range(self.random.choice([1, 5, 12, 25])):
                self._commit(store, recorder.log.append)
                if follower is not None and self.random.random() < 0.1:
                    follower.follow()
            if follower is not None:
                follower.leave()
        self.sessions.append(Session(recorder.log, self.maker.states))

    def _now(self) -> tuple[Disk, BatchBounds]:
        """Return a time after all sessions."""
        disk, sure = Disk(self.before), BatchBounds(self.batches_before)
        for event in (event for session in self.sessions for event in session.events):
            disk.apply(event)
            sure.apply(event)
        return disk, sure

    def _end(self, how: str) -> None:
        """Cut the last session short, by the death of its process or by a loss of power."""
        if how == "closed":
            return
        log = self.sessions[-1].events
        del log[self.random.randrange(len(log)) :]
        if how == "lost":
            disk, _ = self._now()
            log.append(Lost(disk.image(self.random.choice(MANNERS), self.random)))

    def _commit(self, store: Store, note: Callable[[Event], None]) -> None:
        """Commit one batch, by the writer thread or as the store chooses; a read follows some."""
        changes = self.maker.batch()
        batches = len(self.maker.changes)
        reads = [Read(PromiseSearch(), changes.now)] if self.random.random() < 0.1 else []
        note(Begun(batches))
        if self.random.random() < 0.5:
            result = committed(store, changes, reads)
            assert not isinstance(result, StoreFailedError), result
            note(Acknowledged(batches))
            return
        done = Flag()

        def report(result: object) -> None:
            if not isinstance(result, StoreFailedError):
                note(Acknowledged(batches))
            done.set()

        with commits_by_writer():
            assert store.commit(changes, reads, report) is None
        assert done.wait(30)


def _without_deaths(changes: Changes) -> Changes:
    def row_of(row: Row) -> Row:
        if row.task is None:
            return row
        task = msgspec.structs.replace(
            row.task,
            deaths=0,
            cause=None,
            node=None,
            started_at=None,
            acquired_at=None,
            queued_at=None,
            suspensions=0,
            logged=0,
        )
        return msgspec.structs.replace(row, task=task)

    inserted, updated, replaced = (
        list(map(row_of, rows)) for rows in (changes.inserted, changes.updated, changes.replaced)
    )
    schedules = [
        msgspec.structs.replace(each, plan=PLAN, course=COURSE) for each in changes.schedules_put
    ]
    return msgspec.structs.replace(
        changes,
        inserted=inserted,
        updated=updated,
        replaced=replaced,
        attempts=[],
        schedules_put=schedules,
    )


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Make a folder that contains exactly these files."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
