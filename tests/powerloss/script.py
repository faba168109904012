"""What is done to a store before the power goes: a life, with every write of it recorded.

A life is one or more sessions of the real `Store` on one file. It may begin with nothing or with a
file of an earlier schema; a session may end with a close, or with the death of its process at any
event, which loses nothing that was written. How long the log of SQLite may be is drawn too, so
that some lives have many checkpoints.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event as Flag
from typing import NamedTuple
from unittest import mock

import msgspec

from tests.differential.author import Author
from tests.differential.pair import Difference, in_order, same
from tests.powerloss.disk import Disk
from tests.powerloss.recorder import Acknowledged, Begun, Event, Opened, Recorder
from understudy_store import migrations
from understudy_store.changes import Changes, Row, Snapshot
from understudy_store.engines import sqlite
from understudy_store.engines.memory import MemoryEngine
from understudy_store.errors import StoreFailedError
from understudy_store.machine import Machine, MachineConfig
from understudy_store.store import Store, open_store

NAME = "store.db"
REAL_LOG_KIB = sqlite.LOG_BYTES // 1024
#: batches in a file of an earlier schema
AGED_BATCHES = 4
CONFIG = MachineConfig(retry_timeout_ms=20, sweep_max=1000, missed_max=2)


class State(NamedTuple):
    """What a store holds after a number of batches."""

    snapshot: Snapshot
    rows: dict[str, Row]


@contextmanager
def log_of(kib: int) -> Iterator[None]:
    """SQLite's log is made this long, and moved to the file as much earlier."""
    with mock.patch.object(sqlite, "LOG_BYTES", kib * 1024):
        yield


class Maker:
    """Makes batches, as a machine decides them."""

    def __init__(self, seed: int) -> None:
        self.author = Author(seed)
        self.adopt([])

    def adopt(self, batches: Sequence[Changes]) -> None:
        """Go on after these batches."""
        self.changes: list[Changes] = []
        self.engine = MemoryEngine()
        #: by the number of batches
        self.states = [State(in_order(self.engine.load()), {})]
        for changes in batches:
            self._keep(changes)
        self.machine = Machine(CONFIG)
        self.machine.restore(self.states[-1].snapshot, self.author.now)
        rows = self.states[-1].rows.values()
        self.author.promises_now = {row.promise.id: row.promise for row in rows}
        self.author.tasks_now = {row.promise.id: row.task for row in rows if row.task}

    def batch(self) -> Changes:
        """The next batch; never empty, and later than all before."""
        machine, author = self.machine, self.author
        while True:
            author.time += author.random.choice([1, 2, 10, 30])
            for _ in range(author.random.choice([1, 3, 10, 30])):
                command = author.command()
                machine.load(self.engine.find(sorted(machine.lookups([command]))))
                machine.apply(command, author.now)
                self._see()
            machine.load(self.engine.find(sorted(machine.due_lookups(author.now))))
            machine.sweep(author.now)
            self._see()
            changes = machine.take()
            machine.committed(changes)
            if changes:
                self._keep(changes)
                return changes

    def _see(self) -> None:
        for each in self.machine.state.dirty.values():
            self.author.promises_now[each.record.id] = each.record
            if each.task is not None:
                self.author.tasks_now[each.record.id] = each.task.record()

    def _keep(self, changes: Changes) -> None:
        self.engine.commit(changes, [])
        self.changes.append(changes)
        written = {row.promise.id: row for row in (*changes.inserted, *changes.updated)}
        self.states.append(State(in_order(self.engine.load()), self.states[-1].rows | written))


def batches_in(states: Sequence[State], snapshot: Snapshot) -> int:
    """After how many batches a store holds this; each batch has a time of its own.

    Raises
    ------
    Difference
        It holds something else than after any number of them.
    """
    times = [state.snapshot.now for state in states]
    if snapshot.now not in times:
        raise Difference(f"a store of time {snapshot.now}, which no batch had")
    batches = times.index(snapshot.now)
    same("snapshot", states[batches].snapshot, in_order(snapshot))
    return batches


class Sure:
    """How many batches must be there, and how many may."""

    def __init__(self, batches: int = 0) -> None:
        self.at_least = self.at_most = batches

    def apply(self, event: Event) -> None:
        """One more thing happened."""
        match event:
            case Begun(batch):
                self.at_most = batch
            case Acknowledged(batch):
                self.at_least = batch
            case Opened(batches):
                # whoever has seen a batch must see it again, acknowledged or not
                self.at_least = self.at_most = batches
            case _:
                pass


class Session(NamedTuple):
    """What was done by one process, and the states that its batches lead to."""

    events: list[Event]
    states: list[State]


class Life:
    """All that was done to one store, in `sessions`, after what the disk had: `before`."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.maker = Maker(seed)
        self.random = draw = self.maker.author.random
        self.log_kib = draw.choices([32, 64, 256, REAL_LOG_KIB], [5, 10, 4, 1])[0]
        self.before: dict[str, bytes] = {}
        self.batches_before = 0
        self.sessions: list[Session] = []
        self._folder = folder
        with log_of(self.log_kib):
            if draw.random() < 0.2:
                self._age()
            most = draw.choice([1, 2, 2, 3])
            for number in range(most):
                killed = number + 1 < most and draw.random() < 0.6
                self._session(number, killed)

    # ---- before it begins -----------------------------------------------------------------------

    def _age(self) -> None:
        """Begin with a file as the first release left it: of the schema without deaths."""
        path = self._folder / "aged" / NAME
        store = open_store(str(path))
        batches = [_without_deaths(self.maker.batch()) for _ in range(AGED_BATCHES)]
        for changes in batches:
            assert store.commit_here(changes, []) == []
        store.close()
        with closing(sqlite3.connect(path)) as database:
            for column in ("deaths", "cause"):
                database.execute(f"ALTER TABLE promise DROP COLUMN {column}")
            database.execute(f"UPDATE {migrations.VERSION_TABLE} SET version_num = '0001'")
            database.commit()
        self.before = {NAME: path.read_bytes()}
        self.batches_before = len(batches)
        self.maker.adopt(batches)

    # ---- sessions -------------------------------------------------------------------------------

    def _session(self, number: int, killed: bool) -> None:
        """Open, commit some batches, and close, or die on the way."""
        disk = Disk(self.before)
        sure = Sure(self.batches_before)
        for event in (event for session in self.sessions for event in session.events):
            disk.apply(event)
            sure.apply(event)
        folder = self._folder / f"session-{number}"
        write_files(folder, disk.visible())
        recorder = Recorder(folder)
        with recorder.recording():
            store = open_store(str(folder / NAME))
            batches = batches_in(self.maker.states, store.snapshot)
            assert batches >= sure.at_least, "lost by the death of a process"
            recorder.log.append(Opened(batches))
            self.maker.adopt(self.maker.changes[:batches])
            for _ in range(self.random.choice([1, 5, 12])):
                self._commit(store, recorder.log.append)
            store.close()
        log = recorder.log
        if killed:
            del log[self.random.randrange(len(log)) :]
        self.sessions.append(Session(log, self.maker.states))

    def _commit(self, store: Store, note: Callable[[Event], None]) -> None:
        """One batch, by the writer thread or without it."""
        changes = self.maker.batch()
        batches = len(self.maker.changes)
        note(Begun(batches))
        if self.random.random() < 0.5:
            result = store.commit_here(changes, [])
            assert not isinstance(result, StoreFailedError)
            note(Acknowledged(batches))
            return
        done = Flag()

        def report(result: object) -> None:
            if not isinstance(result, StoreFailedError):
                note(Acknowledged(batches))
            done.set()

        store.submit(changes, [], report)
        assert done.wait(30)


def _without_deaths(changes: Changes) -> Changes:
    def row_of(row: Row) -> Row:
        if row.task is None:
            return row
        task = msgspec.structs.replace(row.task, deaths=0, cause=None)
        return msgspec.structs.replace(row, task=task)

    inserted, updated = (list(map(row_of, rows)) for rows in (changes.inserted, changes.updated))
    return msgspec.structs.replace(changes, inserted=inserted, updated=updated)


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Make a folder with these files and no others."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
