"""The state of a machine: everything that is live, and what the outside has not been given yet.

`State` is a bag of containers; what may happen to them stands in the modules beside. They change a
promise or a task only together with `dirty`, from which the next batch of changes is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from understudy_store.machine.live import (
    DETACHED,
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
    TAG_BRANCH,
    TAG_PARENT,
    TAG_SCOPE,
    PromiseRecord,
    ScheduleRecord,
    TaskState,
)


class State:
    """What a machine knows. All of it iterates in order of insertion: no chance is involved."""

    __slots__ = (
        "accepted",
        "callbacks_new",
        "callbacks_removed",
        "children",
        "cold",
        "config",
        "counts",
        "deadlines",
        "dirty",
        "guests",
        "holders",
        "leases",
        "limits",
        "listeners_new",
        "listeners_removed",
        "now",
        "occurrences",
        "offers",
        "offers_due",
        "pending",
        "pins",
        "promises",
        "rested",
        "resting",
        "revoked",
        "round",
        "round_at",
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
        #: live promises, and guests, as objects; and the live ones at rest as bytes: see `cold`
        self.promises: dict[str, Promise] = {}
        self.cold: dict[str, bytes] = {}
        # which of the first are to become the second: ids still to look at in this round, when the
        # next begins, and versions of what the last one and this one have seen at rest
        self.round: list[str] = []
        self.round_at = 0
        self.rested: dict[str, int] = {}
        self.resting: dict[str, int] = {}
        self.holders: dict[str, Holder] = {}
        self.schedules: dict[str, ScheduleRecord] = {}
        #: pending attached children, by branch and by parent; a single one stands for itself
        self.children: dict[str, str | dict[str, None]] = {}
        self.pending = 0
        self.counts: dict[TaskState, int] = {
            "pending": 0,
            "acquired": 0,
            "suspended": 0,
            "halted": 0,
            "fulfilled": 0,
        }
        # timers; keys are ids, of `leases` pids
        self.deadlines = Timers()
        self.offers_due = Timers()
        self.leases = Timers()
        self.occurrences = Timers()
        # owed to the outside
        self.offers: dict[str, Task] = {}
        self.settled: list[Settlement] = []
        self.revoked: list[Revocation] = []
        self.unblocks: dict[tuple[str, str], PromiseRecord] = {}
        self.unblocks_new: dict[tuple[str, str], None] = {}
        # owed to the engine
        self.dirty: dict[str, Promise] = {}
        self.callbacks_new: dict[str, list[str]] = {}
        self.callbacks_removed: list[str] = []
        self.listeners_new: dict[str, list[str]] = {}
        self.listeners_removed: list[str] = []
        #: whether each is added or removed
        self.unblocks_dirty: dict[tuple[str, str], bool] = {}
        self.schedules_dirty: dict[str, None] = {}
        # history in memory: settled promises that leave at the next take
        self.guests: dict[str, None] = {}
        #: settled promises that a command of this batch relies on: their commit must not drop them
        self.pins: set[str] = set()

    def clock(self, now: int) -> int:
        """Let time go on, never backwards; returns the time that it is."""
        if now > self.now:
            self.now = now
        return self.now


def link(s: State, promise_id: str, tags: dict[str, str]) -> None:
    """Enter a pending promise among the children of those that wait for it."""
    if not tags or tags.get(TAG_SCOPE) == DETACHED:
        return
    for tag in (TAG_BRANCH, TAG_PARENT):
        above = tags.get(tag)
        if above is not None:
            children: Any = s.children.get(above)
            if children is None:
                s.children[above] = promise_id
                continue
            # on the hot path: a question for the type takes longer than what is done
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
    """The ids that were entered under `promise_id`."""
    children = s.children.get(promise_id, ())
    return (children,) if isinstance(children, str) else children
