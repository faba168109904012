"""What the machine holds in memory for each live promise and task, and what it owes to the outside.

Live objects are small and mutable and never leave the machine; what leaves it are records, which do
not change. A promise keeps its record and replaces it when it settles, so answering with it costs
nothing.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from understudy_store.limits import Limits
from understudy_store.records import (
    TAG_EXTERNAL,
    TAG_ORIGIN,
    TAG_SCOPE,
    TAG_TARGET,
    TAG_TIMER,
    PromiseRecord,
    TaskRecord,
    TaskState,
)

TRUE: Final = "true"
LOCAL: Final = "local"
DETACHED: Final = "detached"

#: why a node loses a task that it had
Reason: TypeAlias = Literal["settled", "canceled", "deadline", "halted", "lease", "moved"]


class MachineConfig(msgspec.Struct, frozen=True):
    """How patient the machine is, and what it accepts."""

    #: an `execute` that nobody took is offered again after this long
    retry_timeout_ms: int = 60_000
    #: own transitions in one sweep
    sweep_max: int = 10_000
    #: occurrences of schedules in one sweep; the rest follow in the next ones
    missed_max: int = 100
    #: what is at rest this long, or at most twice as long, is kept as bytes: see `cold`
    cool_after_ms: int = 30_000
    limits: Limits = Limits()


class Execute(msgspec.Struct, frozen=True, gc=False):
    """A task that waits for a node; `warm` is the node that may still have its activation."""

    id: str
    version: int
    target: str
    priority: int
    warm: str | None
    #: how often in a row its holder vanished
    deaths: int = 0


class Assigned(msgspec.Struct, frozen=True, gc=False):
    """A task that was acquired for a node: what that node is to be told."""

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
    """What is in memory."""

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
        "cause",
        "deaths",
        "doubts",
        "due_at",
        "expires_at",
        "failures",
        "id",
        "pid",
        "priority",
        "resumes",
        "retry_at",
        "state",
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
        #: holders in a row that vanished, how the last did, and by version those of them that may
        #: yet turn out to live: see `deaths`
        self.deaths = 0
        self.cause: str | None = None
        self.doubts: dict[int, str] | None = None
        self.pid: str | None = None
        self.ttl: int | None = None
        self.expires_at: int | None = None
        #: when it is offered next
        self.retry_at: int | None = None
        #: when it became due: what is stored, for offers are not
        self.due_at: int | None = None
        #: in order, each once
        self.resumes: dict[str, None] | None = None
        #: the node that may have its activation: the holder, or the last one if it suspended
        self.warm: str | None = None

    def record(self) -> TaskRecord:
        """The task as a client sees it."""
        return TaskRecord(
            self.id,
            self.state,
            self.version,
            self.target,
            self.pid,
            self.ttl,
            self.expires_at,
            self.retry_at,
            tuple(self.resumes) if self.resumes else (),
            self.failures,
            self.deaths,
            self.cause,
        )

    def row(self) -> TaskRecord:
        """The task as it is stored: due when it became due, however often it was offered."""
        return TaskRecord(
            self.id,
            self.state,
            self.version,
            self.target,
            self.pid,
            self.ttl,
            self.expires_at,
            self.due_at,
            tuple(self.resumes) if self.resumes else (),
            self.failures,
            self.deaths,
            self.cause,
        )


class Promise:
    """A promise in memory, with its task if it is targeted."""

    __slots__ = ("callbacks", "listeners", "record", "stored", "task")

    def __init__(self, record: PromiseRecord, task: Task | None, stored: bool) -> None:
        self.record = record
        self.task = task
        #: whether a batch that was taken holds it: an update then, else an insert
        self.stored = stored
        #: ids of awaiters, and addresses; in order, each once
        self.callbacks: dict[str, None] | None = None
        self.listeners: dict[str, None] | None = None


class Holder:
    """What one node has: acquired tasks, and suspended ones whose activation it may keep."""

    __slots__ = ("armed_at", "held", "warm")

    def __init__(self) -> None:
        self.held: dict[str, Task] = {}
        #: ids: the task itself may be cold
        self.warm: dict[str, None] = {}
        #: when its leases are looked at: no later than the first of them ends
        self.armed_at: int | None = None


def is_timer(record: PromiseRecord) -> bool:
    """Whether it resolves at its deadline."""
    return record.tags.get(TAG_TIMER) == TRUE


def is_local(record: PromiseRecord) -> bool:
    """Whether it is a step inside one activation."""
    return record.tags.get(TAG_SCOPE) == LOCAL


def is_external(record: PromiseRecord) -> bool:
    """Whether it may be waited for from outside the activation that made it."""
    tags = record.tags
    return TAG_TARGET in tags or tags.get(TAG_TIMER) == TRUE or tags.get(TAG_EXTERNAL) == TRUE


def origin_of(record: PromiseRecord) -> str:
    """The root of its call graph."""
    return record.tags.get(TAG_ORIGIN, record.id)
