"""A machine, an engine that is a dict, and a clock that is a number: what most tests here need.

Each step is checked against every property. A batch may stay in flight while the next is applied,
and a restart loses what was not written, as the real shell does.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tests.unit.store.machine.properties import check_state, check_step
from tests.unit.store.machine.properties_of_states import check_swept
from tests.unit.store.machine.views import Step, View
from understudy_store.changes import Changes, Snapshot
from understudy_store.commands import (
    PromiseCreate,
    Reply,
    StoreCommand,
    TaskAcquire,
    TaskCreate,
    TaskFence,
    TaskFulfill,
)
from understudy_store.machine import (
    Execute,
    Machine,
    MachineConfig,
    Revocation,
    Settlement,
)
from understudy_store.pending_row import to_pending_row
from understudy_store.records import (
    EMPTY,
    PENDING,
    TAG_BRANCH,
    TAG_ORIGIN,
    TAG_TARGET,
    PromiseRecord,
    Row,
    ScheduleRecord,
    TaskRecord,
    Value,
)
from understudy_store.zones import system_zone

START = 1_000_000
CONFIG = MachineConfig(retry_timeout_ms=1000, sweep_max=1000, zones=system_zone)


class Shelf:
    """An engine in a dict: what is written stays, in order."""

    def __init__(self) -> None:
        self.now = 0
        self.rows: dict[str, Row] = {}
        self.callbacks: dict[tuple[str, str], None] = {}
        self.listeners: dict[tuple[str, str], None] = {}
        self.unblocks: dict[tuple[str, str], None] = {}
        self.schedules: dict[str, ScheduleRecord] = {}

    def write(self, changes: Changes) -> None:
        """Write one batch; asserts what a database's keys would."""
        assert changes.now >= self.now
        self.now = changes.now
        for row in changes.inserted:
            assert row.promise.id not in self.rows, f"{row.promise.id} is inserted twice"
            self.rows[row.promise.id] = row
        for row in changes.updated:
            assert row.promise.id in self.rows, (
                f"{row.promise.id} is updated and was never inserted"
            )
            self.rows[row.promise.id] = row
        touched = [row.promise.id for row in (*changes.inserted, *changes.updated)]
        assert len(set(touched)) == len(touched), "an object is written twice in a batch"
        for key in changes.callbacks_added:
            assert key not in self.callbacks
            self.callbacks[key] = None
        for key in changes.listeners_added:
            assert key not in self.listeners
            self.listeners[key] = None
        for table, removed in (
            (self.callbacks, changes.callbacks_removed),
            (self.listeners, changes.listeners_removed),
        ):
            for awaited in removed:
                for key in [key for key in table if key[0] == awaited]:
                    del table[key]
        for key in changes.unblocks_added:
            assert key not in self.unblocks
            self.unblocks[key] = None
        for key in changes.unblocks_removed:
            del self.unblocks[key]
        for schedule in changes.schedules_put:
            self.schedules[schedule.id] = schedule
        for schedule_id in changes.schedules_deleted:
            self.schedules.pop(schedule_id, None)

    def read(self, ids: Iterable[str]) -> list[Row]:
        """Rows with these ids."""
        return [self.rows[each] for each in ids if each in self.rows]

    def snapshot(self) -> Snapshot:
        """What a machine restores."""
        return Snapshot(
            self.now,
            [to_pending_row(row) for row in self.rows.values() if row.promise.state == PENDING],
            list(self.callbacks),
            list(self.listeners),
            [(self.rows[key].promise, address) for key, address in self.unblocks],
            list(self.schedules.values()),
        )


class World:
    """Drives a machine step by step; `now` moves only by `advance`."""

    def __init__(self, config: MachineConfig = CONFIG) -> None:
        self.config = config
        self.now = START
        self.ahead = 0
        self.shelf = Shelf()
        self.machine = Machine(config)
        self.flight: Changes | None = None
        self.executes: list[Execute] = []
        self.settled: list[Settlement] = []
        self.revoked: list[Revocation] = []
        self.unblocks: list[tuple[str, PromiseRecord]] = []
        #: who got each version, as far as it is written
        self.issued: dict[tuple[str, int], str] = {}
        self.view = check_state(self.machine)
        #: the view that is surely written, and the one that the batch in flight leads to
        self.durable = self.view
        self.departed = self.view

    # ---- steps ----------------------------------------------------------------------------------

    def do(self, command: StoreCommand) -> Reply:
        """Look up, load, apply and check."""
        self.machine.load(self.shelf.read(sorted(self.machine.lookups([command]))))
        reply = self.machine.apply(command, self.now)
        self._done(Step("apply", self.now, command, reply))
        return reply

    def sweep(self) -> bool:
        """One round of own transitions."""
        self.machine.load(self.shelf.read(sorted(self.machine.due_lookups(self.now))))
        more = self.machine.sweep(self.now)
        self._done(Step("sweep", self.now))
        return more

    def settle_down(self) -> None:
        """Sweep until nothing is left that is due."""
        for _ in range(10_000):
            if not self.sweep():
                break
        check_swept(self.machine, self.now)

    def release(
        self,
        pid: str,
        keep: Iterable[tuple[str, int]] = (),
        crash: str | None = None,
        presumed: bool = False,
    ) -> list[str]:
        """A node is gone, or back."""
        ids = self.machine.release_pid(pid, self.now, tuple(keep), crash, presumed)
        self._done(Step("release", self.now))
        return ids

    def retract_crashes(self, pid: str, had: Iterable[tuple[str, int]]) -> None:
        """A node that was thought dead is back with what it had."""
        self.machine.retract_crashes(pid, had)
        self._done(Step("retract_crashes", self.now))

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self.now += ms

    def follow(self, ahead: int) -> None:
        """The wall clock is set: the date is `ahead` less than `now`."""
        self.ahead = ahead
        self.machine.follow(ahead, self.now)
        self._done(Step("follow", self.now))

    def occurred(self, schedule_id: str, date: int) -> None:
        """The promise of an occurrence is known to exist in another slot."""
        self.machine.occurred(schedule_id, date)
        self._done(Step("occurred", self.now))

    def forget_ask(self, promise_id: str, slot: int) -> None:
        """A promise does not exist that a slot was to listen to."""
        self.machine.forget_ask(promise_id, slot)
        self._done(Step("forget_ask", self.now))

    def depart(self) -> Changes:
        """Take a batch; it is in flight until `land`. One batch may be in flight."""
        self.land()
        self.flight = self.machine.take()
        self.departed = self.view
        return self.flight

    def land(self) -> None:
        """The batch in flight becomes durable."""
        if self.flight is None:
            return
        self.shelf.write(self.flight)
        for row in (*self.flight.inserted, *self.flight.updated):
            task = row.task
            if task is not None and task.pid is not None:
                known = self.issued.setdefault((task.id, task.version), task.pid)
                assert known == task.pid, ("p10: two holders of one version", task, known)
        self.machine.committed(self.flight)
        self.flight = None
        self.durable = self.departed
        self._check_shelf()

    def _check_shelf(self) -> None:
        """What is written is what was there, but for times that are kept in memory only."""
        seen = self.durable
        assert self.shelf.rows.keys() == seen.promises.keys()
        for key, row in self.shelf.rows.items():
            assert row.promise == seen.promises[key]
            assert _lasting(row.task) == _lasting(seen.tasks.get(key))
        for table, mine in (
            (self.shelf.callbacks, seen.callbacks),
            (self.shelf.listeners, seen.listeners),
        ):
            assert set(table) == {(key, each) for key, those in mine.items() for each in those}
        assert self.shelf.schedules == seen.schedules

    def commit(self) -> Changes:
        """Take and write one batch."""
        changes = self.depart()
        self.land()
        return changes

    def restart(self, config: MachineConfig | None = None) -> None:
        """Begin again from what is written; everything else was never seen by anyone."""
        self.flight = None
        self.machine = Machine(config or self.config)
        self.machine.restore(self.shelf.snapshot(), self.now, self.ahead)
        before, self.view = self.durable, self.durable
        after = check_state(self.machine, self.shelf.rows)
        check_step(_without_times(before), after, Step("restart", self.now))
        self.view = after
        # By another date than the last one schedules run at other times, which the next batch has.
        written = dict(self.shelf.schedules)
        self.durable = self.departed = msgspec.structs.replace(after, schedules=written)

    def _done(self, step: Step) -> None:
        executes, unblocks = self.machine.take_executes(), self.machine.take_unblocks()
        self.executes += executes
        self.unblocks += unblocks
        self.settled += self.machine.take_settled()
        self.revoked += self.machine.take_revoked()
        rows = dict(self.shelf.rows)
        if self.flight is not None:
            rows |= {row.promise.id: row for row in (*self.flight.inserted, *self.flight.updated)}
        after = check_state(self.machine, rows)
        step = msgspec.structs.replace(step, executes=tuple(executes), unblocks=tuple(unblocks))
        check_step(self.view, after, step)
        self.view = after

    # ---- shorthand ------------------------------------------------------------------------------

    def promise(self, promise_id: str, ms: int = 10_000, **tags: str) -> Reply:
        """Create a promise; tags by their short names: ``target="g"``."""
        return self.do(create(promise_id, self.now + ms, **tags))

    def root(self, task_id: str, pid: str = "n1", ms: int = 10_000, ttl: int = 5000) -> Reply:
        """Create and acquire a task."""
        return self.do(TaskCreate(pid, ttl, task_id, self.now + ms, tags={TAG_TARGET: "g"}))

    def child(self, parent: str, task_id: str, ms: int = 10_000, version: int = 1) -> None:
        """Create a targeted child under a fence of its parent."""
        tags = {"target": "g", "origin": parent.partition(".")[0], "branch": parent}
        reply = self.do(TaskFence(parent, version, (create(task_id, self.now + ms, **tags),)))
        assert reply.replies == [None]

    def acquire(self, task_id: str, pid: str = "n1", version: int = 0, ttl: int = 5000) -> Reply:
        """Acquire a task."""
        return self.do(TaskAcquire(task_id, version, pid, ttl))

    def fulfill(self, task_id: str, version: int = 1, value: Value = EMPTY) -> Reply:
        """Resolve a held task."""
        return self.do(TaskFulfill(task_id, version, "resolved", value))

    def task(self, task_id: str) -> TaskRecord:
        """The task as it is."""
        return self.view.tasks[task_id]

    def record(self, promise_id: str) -> PromiseRecord:
        """The promise as it is, unprojected."""
        return self.view.promises[promise_id]

    def state(self, promise_id: str) -> tuple[str, str | None]:
        """(state of the promise, state of its task)."""
        task = self.view.tasks.get(promise_id)
        return self.record(promise_id).state, None if task is None else task.state


def create(promise_id: str, timeout_at: int, **tags: str) -> PromiseCreate:
    """A create, its tags by their short names."""
    return PromiseCreate(
        promise_id, timeout_at, tags={f"understudy:{key}": text for key, text in tags.items()}
    )


def _lasting(task: TaskRecord | None) -> TaskRecord | None:
    return task and msgspec.structs.replace(task, retry_at=None, expires_at=None)


def _without_times(before: View) -> View:
    """The view with leases that end at no time that a restart could keep: it renews all of them."""
    tasks = {
        key: msgspec.structs.replace(task, expires_at=-1) if task.pid is not None else task
        for key, task in before.tasks.items()
    }
    return msgspec.structs.replace(before, tasks=tasks)


__all__ = ["CONFIG", "START", "TAG_BRANCH", "TAG_ORIGIN", "Shelf", "World", "create"]
