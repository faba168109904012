"""Views of a machine, and the steps between them: what the properties are about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from understudy_store.commands import Reply, StoreCommand
from understudy_store.machine import Execute, Machine
from understudy_store.machine.packed import all_promises
from understudy_store.records import PENDING, PromiseRecord, Row, ScheduleRecord, TaskRecord


class View(msgspec.Struct, frozen=True):
    """One moment: memory on top of what is stored, unprojected."""

    promises: dict[str, PromiseRecord]
    tasks: dict[str, TaskRecord]
    callbacks: dict[str, tuple[str, ...]]
    listeners: dict[str, tuple[str, ...]]
    unblocks: frozenset[tuple[str, str]]
    schedules: dict[str, ScheduleRecord]
    #: the greatest time that the machine has seen, and how far it is ahead of the date
    now: int
    ahead: int

    def pending(self, promise_id: str) -> bool:
        """Whether the row says pending."""
        return self.promises[promise_id].state == PENDING


class Step(msgspec.Struct, frozen=True):
    """What led from one view to the next, and what came out of it."""

    name: Literal[
        "apply",
        "sweep",
        "release",
        "retract_crashes",
        "follow",
        "occurred",
        "forget_ask",
        "restart",
        "expel",
        "admit",
    ]
    now: int
    command: StoreCommand | None = None
    reply: Reply | None = None
    executes: tuple[Execute, ...] = ()
    #: (address, record)
    unblocks: tuple[tuple[str, PromiseRecord], ...] = ()
    #: those that leave or come
    slots: frozenset[int] = frozenset()


def view(machine: Machine, history: Mapping[str, Row] | None = None) -> View:
    """Look at a machine, and at what an engine keeps below it."""
    rows = history or {}
    promises = {key: row.promise for key, row in rows.items()}
    tasks = {key: row.task for key, row in rows.items() if row.task is not None}
    live = {each.record.id: each for each in all_promises(machine.state)}
    promises |= {key: each.record for key, each in live.items()}
    tasks |= {key: each.task.record() for key, each in live.items() if each.task is not None}
    return View(
        promises,
        tasks,
        {key: tuple(each.callbacks) for key, each in live.items() if each.callbacks},
        {key: tuple(each.listeners) for key, each in live.items() if each.listeners},
        frozenset(machine.state.unblocks),
        dict(machine.state.schedules),
        machine.state.now,
        machine.state.ahead,
    )
