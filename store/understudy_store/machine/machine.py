"""The machine as others see it; see the package for how it is made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final

from understudy_store import commands as c
from understudy_store.changes import Changes, Row, Snapshot
from understudy_store.machine import batches as ledger
from understudy_store.machine import crash_counts as deaths
from understudy_store.machine import packed as cold
from understudy_store.machine import promises, schedules, sweep, tasks
from understudy_store.machine.live import (
    Assigned,
    Execute,
    MachineConfig,
    Revocation,
    Settlement,
    Statistics,
)
from understudy_store.machine.state import State
from understudy_store.machine.validation import Refusal
from understudy_store.records import PromiseRecord, TaskRecord

_HANDLERS: Final[dict[type, Callable[[State, Any, int], c.Reply]]] = {
    c.PromiseGet: promises.get,
    c.PromiseCreate: promises.create,
    c.PromiseSettle: promises.settle_,
    c.PromiseCancel: promises.cancel_,
    c.PromiseRegisterCallback: promises.register_callback,
    c.PromiseRegisterListener: promises.register_listener,
    c.PromiseSearch: promises.search,
    c.TaskCreate: tasks.create,
    c.TaskAcquire: tasks.acquire,
    c.TaskFence: tasks.fence,
    c.TaskSuspend: tasks.suspend,
    c.TaskFulfill: tasks.fulfill,
    c.TaskRelease: tasks.release,
    c.TaskHeartbeat: tasks.heartbeat,
    c.TaskHalt: tasks.halt,
    c.TaskContinue: tasks.continue_,
    c.TaskGet: tasks.get,
    c.TaskPreload: tasks.preload,
    c.TaskSearch: tasks.search,
    c.ScheduleCreate: schedules.create,
    c.ScheduleGet: schedules.get,
    c.ScheduleDelete: schedules.delete,
    c.ScheduleSearch: schedules.search,
}


class Machine:
    """Every rule of the promise store, pure (semantics: all of it).

    All times are epoch milliseconds. `now` never goes backwards: an earlier one counts as the
    latest seen.

    One batch is ``lookups`` → the engine finds those ids → ``load`` → ``apply`` each command →
    ``sweep`` → what is owed (``take_*``) → ``take`` → the engine writes → ``committed``. Nothing
    owed may be sent before its batch is durable. Between ``lookups`` (or ``due_lookups``) and the
    ``apply`` (or ``sweep``) that it is for stands no ``take``; ``committed`` of an earlier batch
    may come at any point.
    """

    def __init__(self, config: MachineConfig = MachineConfig()) -> None:  # noqa: B008
        #: for tests and simulators, which look and do not touch
        self.state: Final = State(config)

    # ---- history and restart --------------------------------------------------------------------

    def restore(self, snapshot: Snapshot, now: int) -> None:
        """Go on from a snapshot; only for a machine that has done nothing yet.

        Leases run on from `now`. Pending tasks are offered by the next sweep, or at their delay;
        deadlines and schedules that came due meanwhile fire in the following sweeps.
        """
        ledger.restore(self.state, snapshot, now)

    def lookups(self, commands: Iterable[c.StoreCommand]) -> set[str]:
        """Ids that these commands name and that are not in memory."""
        return ledger.lookups(self.state, commands)

    def due_lookups(self, now: int) -> set[str]:
        """Ids that a sweep at this `now` may create for schedules, and that are not in memory."""
        return schedules.due_lookups(self.state, self.state.clock(now))

    def load(self, rows: Iterable[Row]) -> None:
        """Take in what the engine found for `lookups`: settled promises, until the next `take`."""
        ledger.load(self.state, rows)

    # ---- transitions ----------------------------------------------------------------------------

    def apply(self, command: c.StoreCommand, now: int) -> c.Reply:
        """Carry out one command; a refused one has changed nothing but what time itself changes.

        A `ReadCommand` is only checked: status 200 means that the engine may answer it.
        """
        s = self.state
        if now > s.now:
            s.now = now
        try:
            return _HANDLERS[type(command)](s, command, s.now)
        except Refusal as refusal:
            return refusal.reply()

    def assign(self, task_id: str, version: int, pid: str, ttl: int, now: int) -> Assigned | None:
        """As a `TaskAcquire` for a node that the broker has chosen; None where it is refused.

        Raises nothing and makes no reply: it happens once for every call.
        """
        s = self.state
        try:
            promise, task = tasks.assign(s, task_id, version, pid, ttl, s.clock(now))
        except Refusal:
            return None
        return Assigned(promise.record, task.version, task.failures)

    def sweep(self, now: int, looked_up_at: int | None = None) -> bool:
        """Do what is due; True if more is due at `now` than one round does.

        Parameters
        ----------
        looked_up_at
            The time that `due_lookups` was given, where its ids were loaded later than that:
            schedules that have come due since wait for the next sweep. None: it was `now`.
        """
        at = self.state.clock(now)
        if looked_up_at is None or looked_up_at >= now:
            looked_up_at = at
        return sweep.sweep(self.state, at, looked_up_at)

    def next_due(self) -> int | None:
        """No later than the next moment in which a sweep has something to do; None: never."""
        return sweep.next_due(self.state)

    def release_pid(
        self,
        pid: str,
        now: int,
        keep: Collection[tuple[str, int]] = (),
        death: str | None = None,
        doubtful: bool = False,
    ) -> list[str]:
        """A node is gone, or back with only `keep`: its other tasks become pending, due now.

        Returns their ids. Nor is the node any longer thought to have their activations, or those of
        suspended tasks that are not in `keep`.

        Parameters
        ----------
        death:
            How the node vanished, if it did: counted against each of these tasks.
        doubtful:
            It may only have been cut off: `acquit` takes the count back if it returns.
        """
        return sweep.release_pid(self.state, pid, self.state.clock(now), keep, death, doubtful)

    def acquit(self, pid: str, had: Iterable[tuple[str, int]]) -> None:
        """A node is back and had these (id, version): none of them has killed it."""
        deaths.acquit(self.state, pid, had)

    # ---- owed to the outside --------------------------------------------------------------------

    def take_executes(self) -> list[Execute]:
        """Tasks that were offered since the last call and are still pending."""
        s = self.state
        offers, s.offers = s.offers, {}
        return [
            Execute(task.id, task.version, task.target, task.priority, task.warm, task.deaths)
            for task in offers.values()
            if task.state == "pending"
        ]

    def take_settled(self) -> list[Settlement]:
        """Every promise that settled since the last call, in order."""
        settled, self.state.settled = self.state.settled, []
        return settled

    def take_unblocks(self) -> list[tuple[str, PromiseRecord]]:
        """(address, record) of each unblock that came to be owed since the last call."""
        s = self.state
        new, s.unblocks_new = s.unblocks_new, {}
        return [(key[1], s.unblocks[key]) for key in new]

    def owed_unblocks(self) -> list[tuple[str, PromiseRecord]]:
        """(address, record) of every unblock not yet acknowledged."""
        return [(address, record) for (_, address), record in self.state.unblocks.items()]

    def take_revoked(self) -> list[Revocation]:
        """What nodes have lost since the last call, in order."""
        revoked, self.state.revoked = self.state.revoked, []
        return revoked

    def acknowledge(self, promise_id: str, address: str) -> None:
        """The receiver has an unblock; it is owed no longer."""
        ledger.acknowledge(self.state, promise_id, address)

    # ---- what is in memory ----------------------------------------------------------------------

    def records(self) -> Iterator[PromiseRecord]:
        """Every promise that is in memory; not projected."""
        return (promise.record for promise in cold.in_memory(self.state))

    def pids(self) -> list[str]:
        """Nodes that have acquired something."""
        return [pid for pid, holder in self.state.holders.items() if holder.held]

    @property
    def acquired_count(self) -> int:
        """How many tasks all nodes together have acquired."""
        return self.state.counts["acquired"]

    def held(self, pid: str) -> list[tuple[str, int]]:
        """(id, version) of all that a node has acquired."""
        holder = self.state.holders.get(pid)
        return [] if holder is None else [(t.id, t.version) for t in holder.held.values()]

    def held_count(self, pid: str) -> int:
        """How many tasks a node has acquired."""
        holder = self.state.holders.get(pid)
        return 0 if holder is None else len(holder.held)

    def holds(self, pid: str, id: str, version: int) -> bool:
        """Whether a node has acquired (id, version)."""
        holder = self.state.holders.get(pid)
        task = None if holder is None else holder.held.get(id)
        return task is not None and task.version == version

    def record(self, id: str) -> PromiseRecord | None:
        """The promise, if it is in memory; not projected."""
        promise = cold.look(self.state, id)
        return None if promise is None else promise.record

    def task(self, id: str) -> TaskRecord | None:
        """The task, if it is in memory; not projected."""
        promise = cold.look(self.state, id)
        return None if promise is None or promise.task is None else promise.task.record()

    def statistics(self) -> Statistics:
        """What is in memory now."""
        s = self.state
        return Statistics(
            promises_pending=s.pending,
            promises_in_memory=len(s.promises) + len(s.cold),
            tasks_pending=s.counts["pending"],
            tasks_acquired=s.counts["acquired"],
            tasks_suspended=s.counts["suspended"],
            tasks_halted=s.counts["halted"],
            schedules=len(s.schedules),
            unblocks_owed=len(s.unblocks),
            timers_armed=sum(map(len, (s.deadlines, s.offers_due, s.leases, s.occurrences))),
        )

    # ---- owed to the engine ---------------------------------------------------------------------

    def take(self) -> Changes:
        """Everything that changed since the last call, each object once, in its final state."""
        return ledger.take(self.state)

    def committed(self, changes: Changes) -> None:
        """A batch that was taken is durable; what settled in it leaves memory."""
        ledger.committed(self.state, changes)
