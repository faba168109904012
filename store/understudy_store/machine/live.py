"""The objects of the machine: live promises, tasks and holders, and what it tells the outside.

Live objects are small and mutable and never leave the machine; records, which do not change, leave
it. A promise keeps its record and replaces it when it settles, so answering with it costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, tzinfo
from typing import Literal, TypeAlias

import msgspec

from understudy_store.limits import Limits
from understudy_store.records import (
    HEADER_FUNCTION,
    HEADER_VERSION,
    TAG_PRIORITY,
    PromiseRecord,
    TaskRecord,
    TaskState,
)

#: why a node loses a task that it had
Reason: TypeAlias = Literal["settled", "canceled", "deadline", "halted", "lease", "moved"]


#: finds a time zone by its name; None: it is not known
Zones: TypeAlias = Callable[[str], tzinfo | None]


def only_utc(name: str) -> tzinfo | None:
    """Return UTC, which is the one zone that needs no data."""
    return UTC if name == "UTC" else None


class MachineConfig(msgspec.Struct, frozen=True):
    """Periods of the machine, its bounds per sweep, and the limits of what it accepts."""

    #: an `execute` that nobody took is offered again after this long
    retry_timeout_ms: int = 60_000
    #: own transitions in one sweep
    sweep_max: int = 10_000
    #: occurrences of schedules in one sweep; the rest follow in the next ones
    missed_max: int = 100
    #: a promise that was idle this long, or at most twice as long, is packed: see `packed`
    pack_after_ms: int = 30_000
    #: Slots are shared out over brokers: see `elsewhere`. False: this machine has all, for good.
    sharded: bool = False
    limits: Limits = Limits()
    #: The time zones that schedules may have: those of this system are `zones.system_zone`.
    zones: Zones = only_utc


class Execute(msgspec.Struct, frozen=True, gc=False):
    """A task that waits for a node; `warm` is the node that may still have its activation.

    `callee` is the function that it calls, as its promise's headers have it: name and version, None
    for whichever version. None: it calls no function.
    """

    id: str
    version: int
    target: str
    priority: int
    warm: str | None
    crash_count: int = 0
    callee: tuple[str, str | None] | None = None


def execute_of(promise: PromiseRecord, task: Task) -> Execute:
    """Return a pending task as it is offered."""
    headers = promise.param.headers
    name = headers.get(HEADER_FUNCTION)
    callee = None if name is None else (name, headers.get(HEADER_VERSION))
    return Execute(
        task.id, task.version, task.target, task.priority, task.warm, task.crash_count, callee
    )


class Assigned(msgspec.Struct, frozen=True, gc=False):
    """A task that was acquired for a node, as that node is to be told."""

    promise: PromiseRecord
    version: int
    failures: int


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """A promise settled; `holder` is the node that watches it (semantics: Ours, watching)."""

    promise: PromiseRecord
    holder: str | None


class Revocation(msgspec.Struct, frozen=True, gc=False):
    """The node `pid` no longer has the task that it had as `version`, by no command of its own.

    "moved" is for a node that kept a suspended activation warm: another node has acquired the task.
    """

    pid: str
    id: str
    version: int
    reason: Reason


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of what is in memory."""

    promises_pending: int
    #: with those settled and not yet committed
    promises_in_memory: int
    tasks_pending: int
    tasks_acquired: int
    tasks_suspended: int
    tasks_halted: int
    schedules: int
    unblocks_owed: int
    timers_armed: int


class Task:
    """A live task; its state says which fields are set (semantics: property 9)."""

    __slots__ = (
        "acquired_at",
        "awaits",
        "cause",
        "crash_count",
        "due_at",
        "expires_at",
        "failures",
        "id",
        "logged",
        "node",
        "pid",
        "priority",
        "queued_at",
        "resumes",
        "retractable",
        "retry_at",
        "started_at",
        "state",
        "suspensions",
        "target",
        "ttl",
        "version",
        "warm",
    )

    def __init__(self, id: str, target: str, priority: int, state: TaskState) -> None:
        self.id = id
        self.target = target
        self.priority = priority
        self.state: TaskState = state
        self.version = 0
        #: releases because the function raised
        self.failures = 0
        #: holders in a row that vanished, and how the last of them did: see `crash_counts`
        self.crash_count = 0
        self.cause: str | None = None
        #: Version, and the holder that was presumed dead: the crashes that may be taken back.
        self.retractable: dict[int, str] | None = None
        self.pid: str | None = None
        self.ttl: int | None = None
        self.expires_at: int | None = None
        #: when it is offered next
        self.retry_at: int | None = None
        #: when it became due: this is stored, because offers are not
        self.due_at: int | None = None
        #: in order, each once
        self.resumes: dict[str, None] | None = None
        #: promises elsewhere that it waits for: see `elsewhere`
        self.awaits: dict[str, None] | None = None
        #: the node that may have its activation: the holder, or the last one if it suspended
        self.warm: str | None = None
        # For people, as in `TaskRecord`.
        self.node: str | None = None
        self.started_at: int | None = None
        self.acquired_at: int | None = None
        self.queued_at: int | None = None
        self.suspensions = 0
        self.logged = 0

    @classmethod
    def restored(cls, promise: PromiseRecord, record: TaskRecord) -> Task:
        """Return a task as it was stored, without offer or lease (see `HOLDS`)."""
        priority = int(promise.tags.get(TAG_PRIORITY, "0"))
        task = cls(record.id, record.target, priority, record.state)
        task.version = record.version
        task.failures = record.failures
        task.crash_count = record.deaths
        task.cause = record.cause
        task.resumes = dict.fromkeys(record.resumes) if record.resumes else None
        task.awaits = dict.fromkeys(record.awaits) if record.awaits else None
        task.node = record.node
        task.started_at = record.started_at
        task.acquired_at = record.acquired_at
        task.queued_at = record.queued_at
        task.suspensions = record.suspensions
        task.logged = record.logged
        return task

    def record(self, *, stored: bool = False) -> TaskRecord:
        """Return the task as a client sees it, or as it is `stored`.

        The stored one is due when it became due, however often it was offered since.
        """
        return TaskRecord(
            self.id,
            self.state,
            self.version,
            self.target,
            self.pid,
            self.ttl,
            self.expires_at,
            self.due_at if stored else self.retry_at,
            tuple(self.resumes) if self.resumes else (),
            self.failures,
            self.crash_count,
            self.cause,
            tuple(self.awaits) if self.awaits else (),
            self.node,
            self.started_at,
            self.acquired_at,
            self.queued_at,
            self.suspensions,
            self.logged,
        )


class Promise:
    """A promise in memory, with its task if it is targeted."""

    __slots__ = ("callbacks", "listeners", "record", "stored", "task")

    def __init__(self, record: PromiseRecord, task: Task | None, stored: bool) -> None:
        self.record = record
        self.task = task
        #: True if a batch that was taken holds it: the next one updates it, else inserts it
        self.stored = stored
        #: ids of awaiters, and addresses; in order, each once
        self.callbacks: dict[str, None] | None = None
        self.listeners: dict[str, None] | None = None


class Holder:
    """The tasks of one node: those it has acquired, and suspended ones it may keep warm."""

    __slots__ = ("armed_at", "held", "name", "warm")

    def __init__(self, name: str) -> None:
        #: of the process, as in `name_of`
        self.name = name
        self.held: dict[str, Task] = {}
        #: ids only, because the task itself may be packed
        self.warm: dict[str, None] = {}
        #: When the leases are looked at next: no later than the first of them ends.
        self.armed_at: int | None = None
