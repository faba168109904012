"""Promises, tasks and schedules as the store keeps them and the wire carries them.

Plain msgspec structs, encoded as arrays. They are values: a record shows one moment, projected to
the time at which it was read (semantics: Projection), and never changes afterwards.

Well-known tags give a promise its role (semantics: Objects). Everything else in ``tags`` is the
user's.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, Literal, TypeAlias, get_args

import msgspec

PromiseState: TypeAlias = Literal[
    "pending", "resolved", "rejected", "rejected_canceled", "rejected_timedout"
]
#: states that a client may ask for; only a deadline makes ``rejected_timedout``
SettleState: TypeAlias = Literal["resolved", "rejected", "rejected_canceled"]
TaskState: TypeAlias = Literal["pending", "acquired", "suspended", "halted", "fulfilled"]

#: How an attempt ended that the attempt log has: its function raised; its holder gave it back in
#: order, or vanished; or the task was parked.
AttemptEnd: TypeAlias = Literal["raised", "released", "died", "parked"]

#: every state, in the order of a life
PROMISE_STATES: Final[tuple[PromiseState, ...]] = get_args(PromiseState)
TASK_STATES: Final[tuple[TaskState, ...]] = get_args(TaskState)

#: What people are shown for the states, in messages, tables, JSON and Python. The names above came
#: first: they are those of the Resonate specification, and stay in the store and on the wire.
PROMISE_WORDS: Final[dict[str, str]] = {
    state: state.removeprefix("rejected_") for state in PROMISE_STATES
}
TASK_WORDS: Final[dict[str, str]] = {state: state for state in TASK_STATES} | {
    "pending": "queued",
    "acquired": "running",
    "suspended": "waiting",
}

PENDING: Final = "pending"
RESOLVED: Final = "resolved"
REJECTED: Final = "rejected"
CANCELED: Final = "rejected_canceled"
TIMEDOUT: Final = "rejected_timedout"
#: every state of a promise that has settled without a value
FAILED_STATES: Final[tuple[PromiseState, ...]] = (REJECTED, CANCELED, TIMEDOUT)

# Well-known tags ---------------------------------------------------------------------------------
#: address of the group that performs it; makes a promise *targeted*: it has a task
TAG_TARGET: Final = "understudy:target"
#: "true": a *timer*, resolves at its deadline
TAG_TIMER: Final = "understudy:timer"
#: "true": may be awaited from outside the activation that made it (a person, a webhook)
TAG_EXTERNAL: Final = "understudy:external"
#: "local": a step inside one activation; "detached": a call graph of its own
TAG_SCOPE: Final = "understudy:scope"
#: id of the root of the call graph; absent: the promise is a root
TAG_ORIGIN: Final = "understudy:origin"
#: id of the task under which it was created: that task's preload holds it
TAG_BRANCH: Final = "understudy:branch"
#: id of the promise whose function made the call, where that is not the branch itself
TAG_PARENT: Final = "understudy:parent"
#: the identity that has created it; a broker with keys sets it, and lets nobody else do so
TAG_IDENTITY: Final = "understudy:identity"
#: epoch milliseconds before which the task is not due
TAG_DELAY: Final = "understudy:delay"
#: how long the call graph of a root is kept after its end: milliseconds as text, or "never"
TAG_RETENTION: Final = "understudy:retention"
#: integer from -100 to 100 as text; higher goes first within a group
TAG_PRIORITY: Final = "understudy:priority"

# Values of TAG_TIMER and TAG_EXTERNAL, and of TAG_SCOPE ------------------------------------------
TRUE: Final = "true"
LOCAL: Final = "local"
DETACHED: Final = "detached"

#: begins the pid of a holder that is no peer
_FOREIGN: Final = "@"

# Well-known headers of a param -------------------------------------------------------------------
#: name of the function to call
HEADER_FUNCTION: Final = "fn"
#: version of the function, as text; absent: the highest
HEADER_VERSION: Final = "v"
#: place of the call in the code: ``file.py:12``
HEADER_SITE: Final = "at"
#: the kind of call: rfi (begin_rpc, rpc), lfi (begin_run, run), detached, sleep, promise
HEADER_KIND: Final = "kind"
#: retry policy in its wire form; absent: the function's own
HEADER_RETRY: Final = "retry"
#: of a child with an id of its own: the id that its place among the calls would have given it
HEADER_PLACE: Final = "place"
#: the span that the call belongs to, and what its tracers say of it, as the W3C defines both
HEADER_TRACEPARENT: Final = "traceparent"
HEADER_TRACESTATE: Final = "tracestate"
#: the span that the call comes from, if it begins a trace of its own
HEADER_TRACELINK: Final = "tracelink"

# Well-known headers of a value -------------------------------------------------------------------
#: number of the attempt that made the value, as text; absent: the first
HEADER_ATTEMPT: Final = "attempt"
#: Of a failure: the class of the exception, as ``ValueError`` or ``shop.errors.Declined``. It says
#: what failed where the value itself is sealed, or is not decoded.
HEADER_ERROR: Final = "error"
#: characters of a class in `HEADER_ERROR`; longer names keep their ends
ERROR_CHARS_MAX: Final = 200

#: Of a call whose payloads were dropped: when, epoch milliseconds as text.
HEADER_DROPPED: Final = "dropped"

# What is left of purged promises -----------------------------------------------------------------
#: The deadline of a tombstone. No promise has one before 0.
GONE_AT: Final = -1
#: a retention without an end, milliseconds: "never" in tags
KEPT_FOREVER: Final = 2**62
NEVER_PURGED: Final = "never"

# The attempt log ---------------------------------------------------------------------------------
#: The log keeps so many of the first attempts of a task, and of the last ones.
FIRST_ATTEMPTS_KEPT: Final = 3
LAST_ATTEMPTS_KEPT: Final = 20
#: characters of the text of an attempt
ATTEMPT_TEXT_MAX: Final = 1024


class Value(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A param or a value; opaque to the store and the broker."""

    headers: dict[str, str]
    data: bytes | None = None


EMPTY: Final = Value({}, None)


class PromiseRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A durable promise; times in epoch milliseconds."""

    id: str
    state: PromiseState
    param: Value
    value: Value
    tags: dict[str, str]
    timeout_at: int
    created_at: int
    settled_at: int | None = None

    @property
    def settled(self) -> bool:
        """True if the promise has left `pending` for good."""
        return self.state != PENDING


class TaskRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The task of a targeted promise; times in epoch milliseconds, `ttl` in milliseconds.

    This is where the fields of a task are declared. Engines derive their columns from it (see
    `pending_row.TASK_COLUMNS`); a new field also needs a slot in `machine.live.Task`, a column in
    `engines.sql.tables.Promise`, and a migration.
    """

    id: str
    state: TaskState
    version: int
    target: str
    #: the node that has acquired it, and the lease that it was given
    pid: str | None = None
    ttl: int | None = None
    expires_at: int | None = None
    #: when a pending task is offered (next)
    retry_at: int | None = None
    #: awaited ids that have settled since the task was acquired last
    resumes: tuple[str, ...] = ()
    #: releases because its function raised: attempts are one more
    failures: int = 0
    #: crash count: holders in a row that vanished while they had this task
    deaths: int = 0
    #: How the last of them vanished; of a parked task, the reason why it is halted; of one that is
    #: tried again, the failure.
    cause: str | None = None
    #: awaited ids in other slots, where these are shared out over brokers
    awaits: tuple[str, ...] = ()
    #: The name of the process that acquired it last; None: none has.
    node: str | None = None
    #: when it was acquired for the first time
    started_at: int | None = None
    #: when it was acquired last, and since when it had been due then
    acquired_at: int | None = None
    queued_at: int | None = None
    #: how often it has suspended
    suspensions: int = 0
    #: attempts that the attempt log has counted: see `AttemptRecord`
    logged: int = 0


class AttemptRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An attempt at a task that ended badly; times in epoch milliseconds.

    The log has no attempt that ended well, with a value or by suspending: what it would say is in
    the task. It keeps the first `FIRST_ATTEMPTS_KEPT` and the last `LAST_ATTEMPTS_KEPT` of a task.

    Attributes
    ----------
    n
        Counts the attempts of the task that the log has had, from 1.
    version
        The version under which the task was held, or was held last.
    node, host
        The name of the holder's process, and its machine, as far as they are known. A task that was
        parked while nobody held it has neither.
    queued_at, started_at
        When the task was due, and when its holder acquired it.
    error
        The class of the exception that the function raised.
    text
        The reason, for people; of an attempt that ended the call None, because the value says it.
    """

    id: str
    n: int
    version: int
    end: AttemptEnd
    ended_at: int
    node: str | None = None
    host: str | None = None
    queued_at: int | None = None
    started_at: int | None = None
    error: str | None = None
    text: str | None = None


class CallRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A root call, as lists show it: no payloads; times in epoch milliseconds.

    Attributes
    ----------
    function
        The name of the function; empty where the call does not name it in its headers.
    started_at
        When a node began with it; None: none has, or an earlier release of the broker has stored
        it.
    error
        The class of the exception that it failed with, if it failed with one.
    failures, deaths, cause, node, suspensions, logged
        Those of its task, as in `TaskRecord`.
    """

    id: str
    function: str
    group: str
    state: PromiseState
    task_state: TaskState
    tags: dict[str, str]
    created_at: int
    timeout_at: int
    started_at: int | None = None
    settled_at: int | None = None
    error: str | None = None
    failures: int = 0
    deaths: int = 0
    cause: str | None = None
    node: str | None = None
    suspensions: int = 0
    logged: int = 0


class Row(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A promise and, where it is targeted, its task: one row of the store."""

    promise: PromiseRecord
    task: TaskRecord | None = None


class EndedGraph(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A settled call graph that is due, or a tombstone.

    Attributes
    ----------
    members
        The other promises of the graph: (id, state), at most `retention.MEMBERS_MAX`.
    is_whole
        False: it has more of them, and the root stays until they are gone.
    kept
        Why it must stay; None: it need not.
    rows
        What an archive wants of it.
    """

    id: str
    state: PromiseState
    settled_at: int
    members: list[tuple[str, PromiseState]] = []
    is_whole: bool = True
    kept: str | None = None
    rows: list[Row] = []


class PurgedRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A call graph that a purge has deleted, or not.

    Attributes
    ----------
    promises
        The number of promises that were deleted with it, or would be.
    kept
        Why it is still there; None: it is not.
    """

    id: str
    settled_at: int
    promises: int
    kept: str | None = None


class StoreStats(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The content of a store; times in epoch milliseconds, sizes in bytes.

    Attributes
    ----------
    promises, pending, tombstones, attempts
        Rows. A running broker's file may be a second behind.
    oldest_ended_at
        When the oldest call graph ended that is still there; None: none has.
    functions
        Group, function and number of the root calls, the most frequent first.
    file_bytes, free_bytes, log_bytes, journal_bytes
        Of the store's file, of what is free in it for new rows, of SQLite's log and of the journal;
        None: the store has no files.
    """

    promises: int
    pending: int
    tombstones: int
    attempts: int
    oldest_ended_at: int | None
    functions: list[tuple[str, str, int]]
    file_bytes: int | None = None
    free_bytes: int | None = None
    log_bytes: int | None = None
    journal_bytes: int | None = None


class RetentionRules(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The times for which call graphs are kept after their roots ended, in ms; None: for ever.

    Attributes
    ----------
    default
        Of all that nothing else is said of.
    groups, functions
        By group; by function, or group and function: ``checkout``, ``shop/checkout``.
    values
        Payloads and steps; the row of the root stays. None: as long as the root.
    idempotency
        How long after its end an id stays taken; 0: no longer than the graph is kept.
    max_rows, max_bytes
        Promises that a store has, and bytes of its file that are in use, at most; beyond, those
        graphs go first that have ended first. None: as many as there are.
    """

    default: int | None = None
    groups: dict[str, int | None] = {}
    functions: dict[str, int | None] = {}
    values: int | None = None
    idempotency: int | None = 0
    max_rows: int | None = None
    max_bytes: int | None = None


class SchedulePlan(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The rules of a schedule: its time zone, and those for calls that overlap or are late.

    Attributes
    ----------
    zone
        Name of the time zone of the cron line, in the IANA database.
    overlap
        What becomes of a call whose predecessor has not settled: one of `OVERLAPS`.
    catch_up
        What is made of occurrences that nobody was there for: one of `CATCH_UPS`, or those of the
        last so many milliseconds.
    jitter
        Up to so many milliseconds each call is put off, by chance.
    """

    zone: str = "UTC"
    overlap: str = "allow"
    catch_up: str | int = "all"
    jitter: int = 0


class ScheduleCourse(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The course of a schedule so far: its last call, pauses, what was left out.

    Attributes
    ----------
    since
        The date of its last change, from which on its occurrences count; 0: of its beginning.
    last_id
        The id of the call that it has made last.
    waiting
        The timestamp of a call that is made as soon as that one has settled.
    paused_at, paused_until, pause_reason
        When it was paused, by the date; when it goes on by itself, if it does; and why.
    skipped_at, skipped_why
        Its last occurrence without a call, and why: "overlap", "missed" or "paused".
    """

    since: int = 0
    last_id: str | None = None
    waiting: int | None = None
    paused_at: int | None = None
    paused_until: int | None = None
    pause_reason: str = ""
    skipped_at: int | None = None
    skipped_why: str = ""


PLAN: Final = SchedulePlan()
COURSE: Final = ScheduleCourse()
#: Of a call whose predecessor has not settled: make it all the same; leave it out; make it when
#: that has settled, and leave out those that come meanwhile; cancel that one first.
OVERLAPS: Final = ("allow", "skip", "buffer_one", "cancel_other")
#: Of occurrences that were missed: make up for all, for the last, for none.
CATCH_UPS: Final = ("all", "last", "none")


class ScheduleRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A cron line that makes promises; `promise_id` may hold ``{id}`` and ``{timestamp}``.

    A new field also needs a column (see `engines.sql.rows`), unless it is one of the plan or the
    course, which have a column each.
    """

    id: str
    cron: str
    promise_id: str
    #: milliseconds from each occurrence
    promise_timeout: int
    promise_param: Value
    promise_tags: dict[str, str]
    next_run_at: int
    created_at: int
    last_run_at: int | None = None
    plan: SchedulePlan = PLAN
    course: ScheduleCourse = COURSE


def is_timer(record: PromiseRecord) -> bool:
    """Return whether a promise resolves at its deadline."""
    return record.tags.get(TAG_TIMER) == TRUE


def is_local(record: PromiseRecord) -> bool:
    """Return whether a promise is a step inside one activation."""
    return record.tags.get(TAG_SCOPE) == LOCAL


def is_external(record: PromiseRecord) -> bool:
    """Return whether a promise may be awaited from outside the activation that made it."""
    tags = record.tags
    return TAG_TARGET in tags or tags.get(TAG_TIMER) == TRUE or tags.get(TAG_EXTERNAL) == TRUE


def origin_of(record: PromiseRecord) -> str:
    """Return the id of the root of a promise's call graph."""
    return record.tags.get(TAG_ORIGIN, record.id)


def is_gone(record: PromiseRecord) -> bool:
    """Return whether a record is a tombstone: its promise was purged."""
    return record.timeout_at == GONE_AT


def tombstone(id: str, state: PromiseState, settled_at: int) -> Row:
    """Return what is left of a purged promise, so that its id is not used again."""
    return Row(PromiseRecord(id, state, EMPTY, EMPTY, {}, GONE_AT, settled_at, settled_at))


def without_payloads(row: Row, now: int) -> Row:
    """Return a settled call whose payloads are dropped; its headers tell of it.

    Examples
    --------
    >>> record = PromiseRecord("a", "resolved", EMPTY, Value({}, b"1"), {}, 9, 1, 2)
    >>> without_payloads(Row(record), 5).promise.value
    Value(headers={'dropped': '5'}, data=None)
    """
    promise = row.promise
    return Row(
        PromiseRecord(
            promise.id,
            promise.state,
            Value(promise.param.headers),
            Value({**promise.value.headers, HEADER_DROPPED: str(now)}),
            promise.tags,
            promise.timeout_at,
            promise.created_at,
            promise.settled_at,
        ),
        row.task,
    )


def retention_of(tags: dict[str, str]) -> int | None:
    """Return how long the creator of a call wants it kept, milliseconds; None: as usual.

    Examples
    --------
    >>> retention_of({TAG_RETENTION: "1000"}), retention_of({})
    (1000, None)
    """
    text = tags.get(TAG_RETENTION)
    if text is None:
        return None
    return KEPT_FOREVER if text == NEVER_PURGED else int(text)


def function_of(row: Row) -> str | None:
    """Return the function of a root call, empty if it names none; None if it is no root call.

    Root calls are the promises with a task that begin a call graph: detached calls, too.
    """
    promise = row.promise
    if row.task is None or promise.tags.get(TAG_ORIGIN, promise.id) != promise.id:
        return None
    return promise.param.headers.get(HEADER_FUNCTION, "")


def error_of(record: PromiseRecord) -> str | None:
    """Return the class of the exception that a promise has failed with, if its value says so."""
    return record.value.headers.get(HEADER_ERROR) if record.state == REJECTED else None


def forgotten_attempt(n: int) -> int | None:
    """Return the number of the attempt that leaves the log when the one numbered `n` enters it.

    Examples
    --------
    >>> [forgotten_attempt(n) for n in (1, 23, 24, 25)]
    [None, None, 4, 5]
    """
    forgotten = n - LAST_ATTEMPTS_KEPT
    return forgotten if forgotten > FIRST_ATTEMPTS_KEPT else None


def payload_bytes(record: PromiseRecord) -> int:
    """Return the bytes of data in the param and the value of a promise."""
    return len(record.param.data or b"") + len(record.value.data or b"")


def pid_of(name: str, boot: str) -> str:
    """Return the pid of one start of a process: its name, and the text that names the start.

    A process that is started again has a pid of its own, so what its predecessor held is not taken
    for its own. Anybody who knows the boot can speak for the process, and pids are shown to
    people, so a pid does not contain the boot.

    Examples
    --------
    >>> pid_of("orders-1", "e3b0c442")
    'orders-1#ead31da8c0f65f11'
    """
    return f"{name}#{sha256(boot.encode()).hexdigest()[:16]}"


def foreign_pid(name: str) -> str:
    """Return the pid of a holder that is no peer, such as a client behind an edge.

    It is never that of a peer, because no name begins like this. Nobody watches such a holder: its
    leases last for their ttl, and as long as they are renewed.
    """
    return f"{_FOREIGN}{name}"


def foreign_name(pid: str) -> str | None:
    """Return the name that `foreign_pid` was given; None if the pid is a peer's."""
    return pid.removeprefix(_FOREIGN) if pid.startswith(_FOREIGN) else None


def name_of(pid: str) -> str:
    """Return the name of the process in a pid."""
    return pid.partition("#")[0]
