"""Observations on a broker's machine and disk, which outlive its processes."""

from __future__ import annotations

from collections.abc import Callable
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


class Memory:
    """The observations on one broker's machine, across all its processes."""

    def __init__(self, count: Count) -> None:
        self.count = count
        self.seen: dict[str, Seen] = {}
        #: The transition that handed out each (id, version).
        self.acquired: dict[tuple[str, int], int] = {}
        #: The last transition before each settlement was on the disk.
        self.settled: dict[str, int] = {}
        #: The holder of each (id, version) whose acquisition is on the disk.
        self.holders: dict[tuple[str, int], str] = {}
        #: Acquisitions that are not on the disk yet: (version, pid), by id.
        self.handed: dict[str, list[tuple[int, str]]] = {}

    def hand(self, id_: str, version: int, pid: str) -> None:
        """Note that a task was acquired, in memory."""
        self.acquired[id_, version] = self.count.transitions
        self.handed.setdefault(id_, []).append((version, pid))

    def stored(self, id_: str, version: int) -> None:
        """Note that all acquisitions of a task up to this version are on the disk."""
        handed = self.handed.pop(id_, None)
        while handed and handed[0][0] <= version:
            given, pid = handed.pop(0)
            known = self.holders.setdefault((id_, given), pid)
            hold(known == pid, "p10: two holders of one version", id_, given, known, pid)
        if handed:
            self.handed[id_] = handed


class Disk(MemoryEngine):
    """The disk, which survives a broker. It notes holders of tasks, and when rows are durable.

    Parameters
    ----------
    has
        Returns whether the promise of an id belongs on this disk.
    """

    def __init__(self, memory: Memory, has: Callable[[str], bool]) -> None:
        super().__init__()
        self._memory = memory
        self._has = has

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

    def _write(self, changes: Changes) -> None:
        memory = self._memory
        hold(changes.now >= self._now, "time in the store goes back", changes.now, self._now)
        for row in (*changes.inserted, *changes.updated):
            record, task = row.promise, row.task
            hold(self._has(record.id), "p26: on the disk of another broker", record.id)
            if record.settled_at is not None:
                memory.settled.setdefault(record.id, memory.count.transitions)
            if task is not None and task.id in memory.handed:
                memory.stored(task.id, task.version)
            old = self._rows.get(record.id)
            if old is not None and old.promise.settled_at is not None:
                hold(old.promise == record, "p05: settled on disk, and changed", old, record)
        super()._write(changes)

    def _answer(self, read: Read) -> Reply:
        reply = super()._answer(read)
        check_read(self._rows, read, reply)
        return reply
