"""The commands of the store and their reply (semantics: Commands).

A command is one msgspec struct, tagged with the name that the contract gives it. Statuses are those
of HTTP: 200 and 201 done, 300 an awaited promise is settled, 400 malformed, 404 absent, 409 not
held or not in that state, 413 too large, 422 not possible for this kind of promise.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from understudy_store.progress import ProgressRecord
from understudy_store.records import (
    EMPTY,
    FAILED_STATES,
    PLAN,
    AttemptRecord,
    CallRecord,
    EndedGraph,
    PromiseRecord,
    PurgedRecord,
    RetentionRules,
    SchedulePlan,
    ScheduleRecord,
    StoreStats,
    TaskRecord,
    Value,
)


class Command(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Base of all commands."""


class PromiseGet(Command, tag="promise.get", frozen=True):
    id: str


class PromiseCreate(Command, tag="promise.create", frozen=True):
    id: str
    timeout_at: int
    param: Value = EMPTY
    tags: dict[str, str] = {}


class PromiseSettle(Command, tag="promise.settle", frozen=True):
    id: str
    state: str
    value: Value = EMPTY


class PromiseCancel(Command, tag="promise.cancel", frozen=True):
    """Settle `rejected_canceled` this promise and, in its call graph, all it still waits for."""

    id: str
    value: Value = EMPTY


class PromiseRegisterCallback(Command, tag="promise.register_callback", frozen=True):
    awaited: str
    awaiter: str


class PromiseRegisterListener(Command, tag="promise.register_listener", frozen=True):
    awaited: str
    address: str


class PromiseAnnounce(Command, tag="promise.announce", frozen=True):
    """Tell a slot that a promise of another slot has settled: see `machine.elsewhere`."""

    slot: int
    promise: PromiseRecord


class PromiseOccur(Command, tag="promise.occur", frozen=True):
    """Create the promise of an occurrence of a schedule that is in another slot.

    Attributes
    ----------
    schedule, date
        The schedule, and the occurrence by its dates.
    created_at
        The occurrence by the machine's time.
    """

    schedule: str
    date: int
    id: str
    created_at: int
    timeout_at: int
    param: Value
    tags: dict[str, str]


class PromiseSupersede(Command, tag="promise.supersede", frozen=True):
    """Cancel the last call of a schedule, which is in another slot: the next takes its place."""

    schedule: str
    id: str


class PromiseSearch(Command, tag="promise.search", frozen=True):
    """A page of promises in the order of ids; `cursor` is the last page's ``reply.cursor``."""

    state: str | None = None
    tags: dict[str, str] = {}
    prefix: str = ""
    origin: str | None = None
    limit: int = 100
    cursor: str | None = None


class TaskCreate(Command, tag="task.create", frozen=True):
    """Create a promise and acquire its task in one."""

    pid: str
    ttl: int
    id: str
    timeout_at: int
    param: Value = EMPTY
    tags: dict[str, str] = {}


class TaskAcquire(Command, tag="task.acquire", frozen=True):
    id: str
    version: int
    pid: str
    ttl: int


class TaskFence(Command, tag="task.fence", frozen=True):
    """Perform creates and settles, in order, only while (id, version) is held.

    The contract names one inner command; a fence here carries a batch of them (semantics: Ours, on
    top, batches). ``reply.replies`` has one entry for each: None where it did just what was asked
    (created, or settled with the state asked for), else the reply that it would have had alone. A
    reply with status 201 and no promise means that it was created in another slot, whose broker
    tells only those who watch it of its settlement.

    With `full`, each command has its reply in any case, with the promise.
    """

    id: str
    version: int
    commands: tuple[PromiseCreate | PromiseSettle, ...]
    full: bool = False


class TaskSuspend(Command, tag="task.suspend", frozen=True):
    id: str
    version: int
    awaited: tuple[str, ...]


class TaskFulfill(Command, tag="task.fulfill", frozen=True):
    id: str
    version: int
    state: str
    value: Value = EMPTY


class TaskRelease(Command, tag="task.release", frozen=True):
    """Give a task back for `delay` milliseconds; `failed`: because the function raised.

    `cause` is the failure, for people; an empty one leaves the task's cause. `error` is the class
    of the exception, for the attempt log.
    """

    id: str
    version: int
    delay: int = 0
    failed: bool = False
    cause: str = ""
    error: str = ""


class TaskHeartbeat(Command, tag="task.heartbeat", frozen=True):
    """Renew each (id, version) that `pid` holds; an empty tuple renews all that it holds."""

    pid: str
    tasks: tuple[tuple[str, int], ...] = ()


class TaskHalt(Command, tag="task.halt", frozen=True):
    """Halt a task. `cause` is the reason, for people; an empty one leaves the task's cause.

    With a `version`, only while (id, version) is held: so its holder parks a task that it cannot
    go on with, and never one that another node has meanwhile. 0: whoever holds it, if anybody.
    """

    id: str
    cause: str = ""
    version: int = 0


class TaskContinue(Command, tag="task.continue", frozen=True):
    id: str


class TaskRetry(Command, tag="task.retry", frozen=True):
    """Have a task offered at once whose attempt has failed, instead of when its retry is due."""

    id: str


class TaskGet(Command, tag="task.get", frozen=True):
    id: str


class TaskPreload(Command, tag="task.preload", frozen=True):
    """Read the children of a task that (id, version) holds, for a node without its activation."""

    id: str
    version: int


class TaskSearch(Command, tag="task.search", frozen=True):
    """A page of tasks in the order of their ids; `group` is the name in the target."""

    state: str | None = None
    group: str | None = None
    limit: int = 100
    cursor: str | None = None


class TaskAttempts(Command, tag="task.attempts", frozen=True):
    """Read what the attempt log has of a task, in order; nothing, if there is no such task."""

    id: str


class CallSearch(Command, tag="call.search", frozen=True):
    """A page of root calls, the newest first; `cursor` is the last page's ``reply.cursor``.

    All conditions must hold. If only failed `states` are asked for, the calls are ordered by the
    times of their ends, and `since` and `until` are about these; else by those of their creation.

    Attributes
    ----------
    states
        Empty: any.
    error
        The class of the exception, with or without its module.
    since, until
        Epoch milliseconds, the first included and the second not.
    slow_ms
        Only calls that have taken so long, from creation to end, or to this moment.
    counts
        Also count the calls by state, the newest `COUNTED_MAX` of all that match.
    """

    states: tuple[str, ...] = ()
    function: str | None = None
    group: str | None = None
    error: str | None = None
    tags: dict[str, str] = {}
    prefix: str = ""
    since: int | None = None
    until: int | None = None
    slow_ms: int = 0
    limit: int = 100
    cursor: str | None = None
    counts: bool = False

    @property
    def by_end(self) -> bool:
        """True if the calls are ordered by the times of their ends."""
        return bool(self.states) and set(self.states) <= set(FAILED_STATES)


class PromisePurge(Command, tag="promise.purge", frozen=True):
    """Delete settled call graphs, the oldest first, at most `limit`; see `retention`.

    It is read as a search is. What is found is deleted in the next transaction, unless `dry_run`.
    ``reply.cursor`` is where to go on; None: there is nothing more.

    Attributes
    ----------
    before
        Only graphs whose roots have settled before, epoch milliseconds.
    function, group, states, prefix
        Only graphs with such roots; `prefix` is that of their ids.
    """

    before: int
    function: str | None = None
    group: str | None = None
    states: tuple[str, ...] = ()
    prefix: str = ""
    dry_run: bool = False
    limit: int = 64
    cursor: str | None = None
    #: for the broker itself: also read the rows, for an archive
    with_rows: bool = False


class StatsGet(Command, tag="store.stats", frozen=True):
    """Ask how much a store has: `Reply.stats`. It is read as a search is."""


#: in the `counts` of the answer to a `RetentionRead`
EXCESS_COUNT: Final = "excess"
#: functions that the answer names, at most
STATS_FUNCTIONS_MAX: Final = 100
#: graphs that one purge deletes, at most
PURGED_MAX: Final = 64


class RetentionRead(Command, tag="retention.read", frozen=True):
    """Find what is due; only a broker asks itself. See `retention`.

    Attributes
    ----------
    kind
        "graphs": call graphs to be deleted; "kept": those whose creators have said how long they
        are kept; "values": graphs of which the roots are to be kept without payloads; "gone":
        tombstones; "strays": members of graphs whose roots are elsewhere, if anywhere;
        "excess": the oldest graphs, where the store has more than the rules permit.
    rules
        How long things are kept.
    with_rows
        Also return the rows of what is found, for an archive.
    fresh
        See all commits so far; else the table as it is, which may lack the latest.
    before
        Only strays that have settled before, epoch milliseconds.
    excess
        Promises that are still to go because of `max_rows`; None: count them. The answer has their
        number in its `counts`.
    """

    kind: str
    rules: RetentionRules
    cursor: str | None = None
    with_rows: bool = False
    limit: int = PURGED_MAX
    fresh: bool = True
    before: int | None = None
    excess: int | None = None


#: calls that a search counts by state, at most
COUNTED_MAX: Final = 10_000


class ScheduleCreate(Command, tag="schedule.create", frozen=True):
    """Create a promise at each time of `cron` (UTC), for `promise_timeout` milliseconds from it.

    A schedule of that id that exists is returned as it is.
    """

    id: str
    cron: str
    promise_id: str
    promise_timeout: int
    promise_param: Value = EMPTY
    promise_tags: dict[str, str] = {}


class SchedulePut(Command, tag="schedule.put", frozen=True):
    """Create a schedule with a plan; with `replace`, change the one of that id if it exists.

    It stays paused if it is, and the calls that it has made stay. Without `replace`, the schedule
    that exists is returned, and the asker sees whether it is what was asked for: only the asker can
    compare sealed arguments.
    """

    id: str
    cron: str
    promise_id: str
    promise_timeout: int
    promise_param: Value = EMPTY
    promise_tags: dict[str, str] = {}
    plan: SchedulePlan = PLAN
    replace: bool = False


class ScheduleUpdate(Command, tag="schedule.update", frozen=True):
    """Change when a schedule is due and how; what is None stays.

    What it calls stays in any case, and in whose name: `SchedulePut` changes that.
    """

    id: str
    cron: str | None = None
    promise_timeout: int | None = None
    zone: str | None = None
    overlap: str | None = None
    catch_up: str | int | None = None
    jitter: int | None = None


class SchedulePause(Command, tag="schedule.pause", frozen=True):
    """Make no more calls until it is resumed; by itself at `until`, by the date, if that is given.

    A call that waits for its predecessor is left out. For a paused one it changes reason and time.
    """

    id: str
    reason: str = ""
    until: int | None = None


class ScheduleResume(Command, tag="schedule.resume", frozen=True):
    """Go on with the next occurrence; those during the pause are left out."""

    id: str


class ScheduleTrigger(Command, tag="schedule.trigger", frozen=True):
    """Make a call now, also of a paused schedule, under its rule about overlaps.

    `date` stands for the timestamp in its id: epoch milliseconds, by the clock of the asker. It is
    not a whole second, so that no occurrence has it. Asking again with the same is harmless.

    Status 201: the promise is there, and in the reply. 200: it was there, or it is made as soon as
    its predecessor has settled, or in another slot. 409: there is one before it.
    """

    id: str
    date: int


class ScheduleNext(Command, tag="schedule.next", frozen=True):
    """Ask for the next occurrences of a schedule, in `times`, whether it is paused or not."""

    id: str
    count: int = 10


class ScheduleGet(Command, tag="schedule.get", frozen=True):
    id: str


class ScheduleDelete(Command, tag="schedule.delete", frozen=True):
    id: str


class ScheduleSearch(Command, tag="schedule.search", frozen=True):
    prefix: str = ""
    limit: int = 100
    cursor: str | None = None


StoreCommand: TypeAlias = (
    PromiseGet
    | PromiseCreate
    | PromiseSettle
    | PromiseCancel
    | PromiseRegisterCallback
    | PromiseRegisterListener
    | PromiseAnnounce
    | PromiseOccur
    | PromiseSupersede
    | PromiseSearch
    | TaskCreate
    | TaskAcquire
    | TaskFence
    | TaskSuspend
    | TaskFulfill
    | TaskRelease
    | TaskHeartbeat
    | TaskHalt
    | TaskContinue
    | TaskRetry
    | TaskGet
    | TaskPreload
    | TaskSearch
    | TaskAttempts
    | CallSearch
    | PromisePurge
    | StatsGet
    | ScheduleCreate
    | SchedulePut
    | ScheduleUpdate
    | SchedulePause
    | ScheduleResume
    | ScheduleTrigger
    | ScheduleNext
    | ScheduleGet
    | ScheduleDelete
    | ScheduleSearch
)

#: Answered by the engine after the commit of their batch, because history is not in memory.
ReadCommand: TypeAlias = (
    TaskPreload
    | PromiseSearch
    | TaskSearch
    | TaskAttempts
    | CallSearch
    | PromisePurge
    | RetentionRead
    | StatsGet
    | ScheduleSearch
)


class Reply(msgspec.Struct, array_like=True, gc=False):
    """The answer to one command, which also decides which of the bodies is set."""

    status: int
    error: str | None = None
    promise: PromiseRecord | None = None
    task: TaskRecord | None = None
    schedule: ScheduleRecord | None = None
    #: preload, or a page of promises
    promises: list[PromiseRecord] | None = None
    tasks: list[TaskRecord] | None = None
    schedules: list[ScheduleRecord] | None = None
    #: cursor of the next page; None: this was the last
    cursor: str | None = None
    #: of a fence: one for each inner command, see `TaskFence`
    replies: list[Reply | None] | None = None
    #: of a fence: the `now` at which it was applied, epoch milliseconds
    now: int | None = None
    #: of `TaskGet`, by the broker: how far the functions of the task are that have said so
    progress: tuple[ProgressRecord, ...] | None = None
    #: the next occurrences of a schedule, epoch milliseconds
    times: list[int] | None = None
    #: a page of root calls; with their number by state, if that was asked for
    calls: list[CallRecord] | None = None
    counts: dict[str, int] | None = None
    #: what the attempt log has of a task
    attempts: list[AttemptRecord] | None = None
    #: of a purge: what was deleted, or would have been
    purged: list[PurgedRecord] | None = None
    #: of a purge, between an engine and its broker: what is due
    ended: list[EndedGraph] | None = None
    stats: StoreStats | None = None

    @property
    def ok(self) -> bool:
        """True unless the command was refused."""
        return self.status < 400
