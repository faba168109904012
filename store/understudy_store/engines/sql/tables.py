"""The tables. A promise and its task are one row, so that a call is one insert and one update.

Times are epoch milliseconds. Texts are compared byte by byte (SQLite's default; other databases are
told): pages are in the order of ids, and an id finds only itself.

These classes describe; on the hot path the engines run Core statements over their tables, with
plain tuples (`understudy_store.engines.sql.statements`).
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import BigInteger, Index, LargeBinary, MetaData, Table, Text, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

#: "undr", in the header of every SQLite file of a store: PRAGMA application_id
APPLICATION_ID = 0x756E6472


#: Conditions of the rows of root calls, spelled in queries as in indexes: all, those that have not
#: ended, and those that ended without a value. The second says in another way what root calls are:
#: else the database may take the index of all for them, because it has no statistics.
CALLS = "function IS NOT NULL"
ROOTS = "target IS NOT NULL AND origin = id"
LIVE_CALLS = f"{ROOTS} AND state = 'pending'"
FAILED = "state IN ('rejected', 'rejected_canceled', 'rejected_timedout')"
FAILED_CALLS = f"function IS NOT NULL AND {FAILED}"
#: Conditions of the roots of call graphs that have ended; of those whose creators have said how
#: long they are kept; and of tombstones.
ENDED = "origin = id AND settled_at IS NOT NULL AND timeout_at >= 0"
KEPT = "retention IS NOT NULL AND settled_at IS NOT NULL"
GONE = "timeout_at < 0"
#: Condition of the rows of settled promises whose ids do not begin with that of their call graph's
#: root, so they may be at another broker than that.
STRAY = (
    "origin <> id AND settled_at IS NOT NULL AND substr(id, 1, length(origin) + 1) <> origin || '.'"
)
#: Condition of the rows of detached calls: roots that a task has made.
DETACHED = "branch IS NOT NULL AND origin = id"


def _partial(name: str, condition: str, *columns: str) -> Index:
    """Describe an index of those rows that meet a condition."""
    where = text(condition)
    return Index(name, *columns, sqlite_where=where, postgresql_where=where)


class StoreModel(SQLModel, registry=registry()):
    """Base of the tables, with its own registry, because embedding programs have tables too."""


class Promise(StoreModel, table=True):
    """A durable promise, and its task where it is targeted (semantics: Objects)."""

    __tablename__ = "promise"
    # Any here and below, as SQLModel declares it.
    __table_args__: ClassVar[Any] = (
        # For restarts, and for searches of pending promises: neither reads history.
        _partial("promise_live", "state = 'pending'", "id"),
        # For preloads, and for searches within one call graph.
        Index("promise_graph", "origin", "branch"),
        # For preloads, which hold detached calls too. No other promise is in it.
        _partial("promise_detached", DETACHED, "branch"),
        # For lists of root calls, the newest first. No other promise is in them.
        _partial("call_created", CALLS, "created_at"),
        _partial("call_function", CALLS, "function", "created_at"),
        _partial("call_group", CALLS, "group_name", "created_at"),
        _partial("call_live", LIVE_CALLS, "created_at"),
        _partial("call_failed", FAILED_CALLS, "settled_at"),
        # For purges, the oldest first.
        _partial("promise_ended", ENDED, "settled_at"),
        _partial("promise_kept", KEPT, "settled_at"),
        _partial("promise_gone", GONE, "settled_at"),
        _partial("promise_stray", STRAY, "origin", "settled_at"),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    #: pending, resolved, rejected, rejected_canceled or rejected_timedout
    state: str = Field(sa_type=Text)
    #: JSON object of texts
    param_headers: str = Field(sa_type=Text)
    #: opaque, as all data
    param_data: bytes | None = Field(sa_type=LargeBinary)
    #: JSON object of texts
    value_headers: str = Field(sa_type=Text)
    value_data: bytes | None = Field(sa_type=LargeBinary)
    #: JSON object of texts
    tags: str = Field(sa_type=Text)
    timeout_at: int = Field(sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)
    settled_at: int | None = Field(sa_type=BigInteger)
    #: id of the root of its call graph; its own id where it is the root
    origin: str = Field(sa_type=Text)
    #: id of the task whose preload contains the promise
    branch: str | None = Field(sa_type=Text)
    #: see `understudy_store.slots`
    slot: int
    #: canonical address; set exactly when there is a task, as are `task_state` and `version`
    target: str | None = Field(sa_type=Text)
    #: the group within `target`, or the whole of it (`addresses.group_of`)
    group_name: str | None = Field(sa_type=Text)
    #: pending, acquired, suspended, halted or fulfilled
    task_state: str | None = Field(sa_type=Text)
    version: int | None = Field(sa_type=BigInteger)
    #: holder of the lease
    pid: str | None = Field(sa_type=Text)
    #: length of the lease, milliseconds
    ttl: int | None = Field(sa_type=BigInteger)
    expires_at: int | None = Field(sa_type=BigInteger)
    retry_at: int | None = Field(sa_type=BigInteger)
    #: JSON array of promise ids; NULL for none
    resumes: str | None = Field(sa_type=Text)
    #: releases because its function raised
    failures: int | None = Field(sa_type=BigInteger)
    #: crash count: holders in a row that vanished; NULL counts as 0
    deaths: int | None = Field(sa_type=BigInteger)
    #: how the last of them vanished, why the task was halted, or the failure that is retried
    cause: str | None = Field(sa_type=Text)
    #: JSON array of ids in other slots that it waits for; NULL for none
    awaits: str | None = Field(sa_type=Text)
    #: name of the process that acquired the task last
    node: str | None = Field(sa_type=Text)
    #: when it was acquired for the first time, and for the last, and since when it was due then
    started_at: int | None = Field(sa_type=BigInteger)
    acquired_at: int | None = Field(sa_type=BigInteger)
    queued_at: int | None = Field(sa_type=BigInteger)
    #: how often it has suspended; NULL counts as 0
    suspensions: int | None = Field(sa_type=BigInteger)
    #: attempts that the log has counted; NULL counts as 0
    logged: int | None = Field(sa_type=BigInteger)
    #: of a root call, the name of its function, empty if it names none; NULL in all other rows
    function: str | None = Field(sa_type=Text)
    #: of a promise that has failed, the class of the exception, if its value says so
    error: str | None = Field(sa_type=Text)
    #: of a root whose creator has said how long it is kept, milliseconds; NULL in all other rows
    retention: int | None = Field(sa_type=BigInteger)


class Attempt(StoreModel, table=True):
    """An attempt at a task that ended badly (`records.AttemptRecord`)."""

    __tablename__ = "attempt"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}

    promise_id: str = Field(primary_key=True, sa_type=Text)
    #: its number in the log of the task, from 1
    n: int = Field(primary_key=True, sa_type=BigInteger)
    version: int = Field(sa_type=BigInteger)
    #: raised, released, died or parked
    how: str = Field(sa_type=Text)
    ended_at: int = Field(sa_type=BigInteger)
    node: str | None = Field(sa_type=Text)
    host: str | None = Field(sa_type=Text)
    queued_at: int | None = Field(sa_type=BigInteger)
    started_at: int | None = Field(sa_type=BigInteger)
    error: str | None = Field(sa_type=Text)
    reason: str | None = Field(sa_type=Text)
    #: that of the promise
    slot: int


class Callback(StoreModel, table=True):
    """`awaiter`'s task waits for `awaited`."""

    __tablename__ = "callback"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}

    awaited: str = Field(primary_key=True, sa_type=Text)
    awaiter: str = Field(primary_key=True, sa_type=Text)
    #: that of `awaited`
    slot: int


class Listener(StoreModel, table=True):
    """An address that is owed an unblock once `awaited` is settled."""

    __tablename__ = "listener"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}

    awaited: str = Field(primary_key=True, sa_type=Text)
    address: str = Field(primary_key=True, sa_type=Text)
    #: that of `awaited`
    slot: int


class Unblock(StoreModel, table=True):
    """A message that is owed until its receiver acknowledges it (semantics: Messages owed)."""

    __tablename__ = "unblock"
    __table_args__: ClassVar[Any] = {"sqlite_with_rowid": False}

    promise_id: str = Field(primary_key=True, sa_type=Text)
    address: str = Field(primary_key=True, sa_type=Text)
    #: that of the promise
    slot: int


class Schedule(StoreModel, table=True):
    """A cron line that makes promises."""

    __tablename__ = "schedule"

    id: str = Field(primary_key=True, sa_type=Text)
    cron: str = Field(sa_type=Text)
    #: template of an id
    promise_id: str = Field(sa_type=Text)
    #: milliseconds from each occurrence
    promise_timeout: int = Field(sa_type=BigInteger)
    param_headers: str = Field(sa_type=Text)
    param_data: bytes | None = Field(sa_type=LargeBinary)
    promise_tags: str = Field(sa_type=Text)
    next_run_at: int = Field(sa_type=BigInteger)
    created_at: int = Field(sa_type=BigInteger)
    last_run_at: int | None = Field(sa_type=BigInteger)
    #: JSON arrays of the fields of a `SchedulePlan` and a `ScheduleCourse`; NULL for the default
    plan: str | None = Field(sa_type=Text)
    course: str | None = Field(sa_type=Text)
    #: that of its id; its promises are in those of theirs
    slot: int


class Meta(StoreModel, table=True):
    """Facts about the whole store, all as text.

    ``now``: greatest time ever committed. ``store``: 8 random bytes in hex, which its journal
    repeats. ``commit``: number of the last commit in the tables; later ones are in the journal.
    ``journal``: the journal's mark, 8 random bytes in hex; empty if the tables have every commit.
    ``owner.`` and a key: a text of the store's owner (`Engine.put_fact`).
    """

    __tablename__ = "meta"

    key: str = Field(primary_key=True, sa_type=Text)
    value: str = Field(sa_type=Text)


METADATA: MetaData = StoreModel.metadata


def table(model: type[StoreModel]) -> Table:
    """The Core table of `model`."""
    return METADATA.tables[str(model.__tablename__)]
