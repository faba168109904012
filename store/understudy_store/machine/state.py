"""The state of a machine: everything that is live, and what the outside has not been given yet.

`State` is a bag of containers; the modules beside it say what may happen to them. They change a
promise or a task only together with `dirty`, from which the next batch of changes is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from understudy_store.commands import PromiseOccur, PromiseSupersede
from understudy_store.machine.hosts import Hosts
from understudy_store.machine.live import (
    Holder,
    MachineConfig,
    Promise,
    Revocation,
    Settlement,
    Task,
)
from understudy_store.machine.timers import Timers
from understudy_store.machine.validation import Accepted
from understudy_store.records import (
    DETACHED,
    TAG_BRANCH,
    TAG_PARENT,
    TAG_SCOPE,
    TASK_STATES,
    AttemptRecord,
    PromiseRecord,
    Row,
    ScheduleRecord,
    TaskState,
)


class Due(NamedTuple):
    """Occurrences of a schedule that are due, and the last one that was missed for good.

    Without either, its pause is over.
    """

    dates: tuple[int, ...]
    missed: int | None = None


class State:
    """Everything a machine knows. All containers iterate in order of insertion, never by chance."""

    __slots__ = (
        "accepted",
        "ahead",
        "asked",
        "asks",
        "attempts",
        "awaiters_elsewhere",
        "callbacks_new",
        "callbacks_removed",
        "cancels_elsewhere",
        "children",
        "config",
        "counts",
        "deadlines",
        "dirty",
        "followed",
        "holders",
        "hosts",
        "idle",
        "idle_before",
        "in_flight",
        "leases",
        "leaving",
        "limits",
        "listeners_new",
        "listeners_removed",
        "looked_up",
        "new_templates",
        "now",
        "occurrences",
        "occurrences_elsewhere",
        "occurring",
        "occurs_at",
        "offers",
        "offers_due",
        "pack_round",
        "pack_round_at",
        "packed",
        "pending",
        "occurrences_read",
        "pinned",
        "promises",
        "purged",
        "replaced",
        "revoked",
        "schedules",
        "schedules_dirty",
        "settled",
        "unblocks",
        "unblocks_dirty",
        "unblocks_new",
    )

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.limits = config.limits
        self.accepted = Accepted()
        #: greatest time seen
        self.now = 0
        #: How far this time is ahead of the date, by which schedules run (see `schedules`).
        self.ahead = 0
        #: Promises in memory: live ones and some history as objects, idle live ones as bytes. None
        #: is in both (see `packed`).
        self.promises: dict[str, Promise] = {}
        self.packed: dict[str, bytes] = {}
        # Packing goes in rounds: ids that this round has still to look at, when the next one
        # begins, and the promises that the last round and this one have found idle, with versions.
        self.pack_round: list[str] = []
        self.pack_round_at = 0
        self.idle_before: dict[str, int] = {}
        self.idle: dict[str, int] = {}
        self.holders: dict[str, Holder] = {}
        self.schedules: dict[str, ScheduleRecord] = {}
        #: pending attached children, by branch and by parent; a single one stands for itself
        self.children: dict[str, str | dict[str, None]] = {}
        # Between slots (see `elsewhere`): the tasks that wait for a promise elsewhere, by its id;
        # and the slots that are, or are asked to become, its listeners.
        self.awaiters_elsewhere: dict[str, dict[str, None]] = {}
        self.asked: dict[tuple[str, int], None] = {}
        #: by schedule, the promise of the occurrence that is to be created elsewhere
        self.occurring: dict[str, PromiseOccur] = {}
        #: The last calls that schedules are told of when they settle, and those schedules; and for
        #: when each schedule is armed (see `occurrences`).
        self.followed: dict[str, dict[str, None]] = {}
        self.occurs_at: dict[str, int] = {}
        self.pending = 0
        self.counts: dict[TaskState, int] = dict.fromkeys(TASK_STATES, 0)
        # Timers; keys are ids, those of `leases` pids.
        self.deadlines = Timers()
        self.offers_due = Timers()
        self.leases = Timers()
        self.occurrences = Timers()
        # Owed to the outside.
        self.offers: dict[str, Task] = {}
        self.settled: list[Settlement] = []
        self.revoked: list[Revocation] = []
        self.unblocks: dict[tuple[str, str], PromiseRecord] = {}
        self.unblocks_new: dict[tuple[str, str], None] = {}
        self.asks: list[tuple[str, int]] = []
        self.occurrences_elsewhere: list[PromiseOccur] = []
        self.cancels_elsewhere: list[PromiseSupersede] = []
        # Owed to the engine.
        self.dirty: dict[str, Promise] = {}
        self.callbacks_new: dict[str, list[str]] = {}
        self.callbacks_removed: list[str] = []
        self.listeners_new: dict[str, list[str]] = {}
        self.listeners_removed: list[str] = []
        #: True if the unblock is added, False if it is removed
        self.unblocks_dirty: dict[tuple[str, str], bool] = {}
        self.schedules_dirty: dict[str, None] = {}
        self.attempts: list[AttemptRecord] = []
        self.purged: list[str] = []
        self.replaced: list[Row] = []
        self.hosts = Hosts()
        #: batches that were taken and are not durable yet
        self.in_flight = 0
        # History in memory: settled promises that leave at the next take.
        self.leaving: dict[str, None] = {}
        #: Settled promises that a command of this batch relies on. If the commit of an earlier
        #: batch ends meanwhile, it must not drop them.
        #: by schedule, what the last `due_lookups` has read
        self.occurrences_read: dict[str, Due] = {}
        #: the ids of calls of schedules that commands of this batch ask for, and were looked up
        self.looked_up: set[str] = set()
        #: of schedules that commands of this batch create, the templates of their calls' ids
        self.new_templates: dict[str, dict[str, None]] = {}
        self.pinned: set[str] = set()

    def clock(self, now: int) -> int:
        """Let time go on, never backwards; return the time that it is."""
        if now > self.now:
            self.now = now
        return self.now


def next_due(s: State) -> int:
    """Return when a sweep has something to do, or an earlier time; `NEVER` if it never has.

    Earlier, because a renewed lease does not move its timer.
    """
    return min(s.deadlines.next_at, s.leases.next_at, s.occurrences.next_at, s.offers_due.next_at)


def link(s: State, promise_id: str, tags: dict[str, str]) -> None:
    """Enter a pending promise among the children of its branch and of its parent."""
    if not tags or tags.get(TAG_SCOPE) == DETACHED:
        return
    for tag in (TAG_BRANCH, TAG_PARENT):
        above = tags.get(tag)
        if above is not None:
            children: Any = s.children.get(above)
            if children is None:
                s.children[above] = promise_id
                continue
            # On the hot path, so untyped: asking for the type takes longer than the work itself.
            try:
                children[promise_id] = None
            except TypeError:
                s.children[above] = {children: None, promise_id: None}


def unlink(s: State, promise_id: str, tags: dict[str, str]) -> None:
    """Undo `link`."""
    if not tags or tags.get(TAG_SCOPE) == DETACHED:
        return
    for tag in (TAG_BRANCH, TAG_PARENT):
        above = tags.get(tag)
        if above is None:
            continue
        children: Any = s.children.get(above)
        if children is None:
            continue
        if children is not promise_id:
            # As above.
            try:
                children.pop(promise_id, None)
            except AttributeError:
                if children != promise_id:
                    continue
            else:
                if children:
                    continue
        del s.children[above]


def children_of(s: State, promise_id: str) -> Iterable[str]:
    """Return the ids that were entered under `promise_id`."""
    children = s.children.get(promise_id, ())
    return (children,) if isinstance(children, str) else children
