"""Observations on a broker's machine and disk, which outlive its processes."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import NamedTuple

from tests.unit.store.machine.properties_of_steps import check_read
from understudy_store.changes import Changes
from understudy_store.commands import Reply
from understudy_store.engines.base import Read
from understudy_store.engines.memory import MemoryEngine
from understudy_store.machine.live import Promise
from understudy_store.records import PromiseRecord, Row, TaskState


class Violation(AssertionError):
    """A property does not hold; the text has its name and the observed values."""


def hold(true: bool, name: str, *seen: object) -> None:
    """Raise `Violation` unless `true`."""
    if not true:
        raise Violation(f"{name}: {', '.join(map(repr, seen))}")


class Seen(NamedTuple):
    """A promise and its task as they were after the last transition that touched them."""

    record: PromiseRecord
    state: TaskState | None
    version: int
    pid: str | None
    ttl: int | None
    expires_at: int | None
    resumes: tuple[str, ...]
    callbacks: tuple[str, ...]
    listeners: tuple[str, ...]
    #: The promises elsewhere that the task waits for.
    awaits: tuple[str, ...] = ()


def look(promise: Promise) -> Seen:
    """Return the visible state of a live object."""
    callbacks = tuple(promise.callbacks) if promise.callbacks else ()
    listeners = tuple(promise.listeners) if promise.listeners else ()
    task = promise.task
    if task is None:
        return Seen(promise.record, None, 0, None, None, None, (), callbacks, listeners)
    return Seen(
        promise.record,
        task.state,
        task.version,
        task.pid,
        task.ttl,
        task.expires_at,
        tuple(task.resumes) if task.resumes else (),
        callbacks,
        listeners,
        tuple(task.awaits) if task.awaits else (),
    )


class Count:
    """The number of transitions in a world, which orders the observations on all its machines."""

    def __init__(self) -> None:
        self.transitions = 0


class Durable:
    """The observations on what is on the disks, or was once on its way there."""

    def __init__(self, count: Count) -> None:
        self.count = count
        #: The transition that handed out each (id, version).
        self.acquired: dict[tuple[str, int], int] = {}
        #: The last transition before each settlement was on the disk.
        self.settled: dict[str, int] = {}
        #: The holder of each (id, version) whose acquisition is on the disk.
        self.holders: dict[tuple[str, int], str] = {}


class Memory:
    """The observations on one broker's machine."""

    def __init__(self, durable: Durable) -> None:
        self.durable = durable
        self.seen: dict[str, Seen] = {}
        #: Acquisitions that are not on the disk yet: (version, pid), by id.
        self.handed: dict[str, list[tuple[int, str]]] = {}

    @property
    def count(self) -> Count:
        return self.durable.count

    def hand(self, id_: str, version: int, pid: str) -> None:
        """Note that a task was acquired, in memory."""
        self.durable.acquired[id_, version] = self.count.transitions
        self.handed.setdefault(id_, []).append((version, pid))

    def stored(self, id_: str, version: int) -> None:
        """Note that all acquisitions of a task up to this version are on the disk."""
        handed = self.handed.pop(id_, None)
        while handed and handed[0][0] <= version:
            given, pid = handed.pop(0)
            known = self.durable.holders.setdefault((id_, given), pid)
            hold(known == pid, "p10: two holders of one version", id_, given, known, pid)
        if handed:
            self.handed[id_] = handed


def as_stored(row: Row) -> Seen:
    """Return the visible state of a promise that is not in memory."""
    task = row.task
    if task is None:
        return Seen(row.promise, None, 0, None, None, None, (), (), ())
    return Seen(row.promise, task.state, task.version, None, None, None, (), (), ())


class Disk(MemoryEngine):
    """A disk, which survives brokers. It notes holders of tasks, and when rows are durable.

    Parameters
    ----------
    memory_of
        Returns the observations on the machine that writes the promise of an id.
    has
        Returns whether the promise of an id belongs on this disk.
    one_clock
        All is written by one clock.
    """

    def __init__(
        self,
        durable: Durable,
        memory_of: Callable[[str], Memory],
        has: Callable[[str], bool],
        *,
        one_clock: bool = True,
    ) -> None:
        super().__init__()
        self._durable = durable
        self._memory_of = memory_of
        self._has = has
        self._one_clock = one_clock

    @property
    def rows(self) -> dict[str, Row]:
        return self._rows

    @property
    def waiting(self) -> list[tuple[str, str]]:
        """Callbacks, listeners and unblocks, each as the promise's id and who waits for it."""
        waiting = [*self._unblocks]
        for each in (self._callbacks, self._listeners):
            waiting += [(key, other) for key, others in each.items() for other in others]
        return waiting

    def keep(self, changes: Changes) -> None:
        """Write changes which another store has written."""
        self._check(changes)
        self._write(changes)

    def _write(self, changes: Changes) -> None:
        durable = self._durable
        on_time = changes.now >= self._now or not self._one_clock
        hold(on_time, "time in the store goes back", changes.now, self._now)
        for row in (*changes.inserted, *changes.updated):
            record, task = row.promise, row.task
            hold(self._has(record.id), "p26: on the disk of another broker", record.id)
            if record.settled_at is not None:
                durable.settled.setdefault(record.id, durable.count.transitions)
            if task is not None:
                memory = self._memory_of(record.id)
                if task.id in memory.handed:
                    memory.stored(task.id, task.version)
            old = self._rows.get(record.id)
            if old is not None and old.promise.settled_at is not None:
                hold(old.promise == record, "p05: settled on disk, and changed", old, record)
        super()._write(changes)

    def _answer(self, read: Read, until: float = inf) -> Reply:
        reply = super()._answer(read, until)
        check_read(self._rows, read, reply)
        return reply
