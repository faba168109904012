"""The face of the machine; see the package for how it works."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any, Final

from understudy_store import commands as c
from understudy_store.addresses import slot_address
from understudy_store.changes import Changes, Snapshot
from understudy_store.machine import (
    announcements,
    batches,
    crash_counts,
    elsewhere,
    expulsion,
    leases,
    occurrences,
    promises,
    purges,
    recovery,
    schedule_runs,
    schedules,
    sweep,
    tasks,
)
from understudy_store.machine.live import (
    Assigned,
    Execute,
    MachineConfig,
    Revocation,
    Settlement,
    execute_of,
)
from understudy_store.machine.state import State, next_due
from understudy_store.machine.timers import NEVER
from understudy_store.machine.transitions import TASK_TRANSITIONS
from understudy_store.machine.validation import Refusal
from understudy_store.machine.view import MachineView
from understudy_store.records import (
    PromiseRecord,
    Row,
)

# Any, because each function takes the command of its own row.
_HANDLERS: Final[dict[type, Callable[[State, Any, int], c.Reply]]] = {
    c.PromiseGet: promises.get,
    c.PromiseCreate: promises.create,
    c.PromiseSettle: promises.settle_,
    c.PromiseCancel: promises.cancel_,
    c.PromiseRegisterCallback: promises.register_callback,
    c.PromiseRegisterListener: promises.register_listener,
    c.PromiseAnnounce: announcements.announce,
    c.PromiseOccur: schedule_runs.occur,
    c.PromiseSupersede: schedule_runs.supersede,
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
    c.TaskRetry: tasks.retry,
    c.TaskGet: tasks.get,
    c.TaskPreload: tasks.preload,
    c.TaskSearch: tasks.search,
    c.TaskAttempts: tasks.attempts,
    c.CallSearch: tasks.search_calls,
    c.PromisePurge: tasks.search_purge,
    c.StatsGet: tasks.stats,
    c.ScheduleCreate: schedules.create,
    c.SchedulePut: schedules.put,
    c.ScheduleUpdate: schedules.update,
    c.SchedulePause: schedules.pause,
    c.ScheduleResume: schedules.resume,
    c.ScheduleTrigger: schedules.trigger,
    c.ScheduleNext: schedules.next_,
    c.ScheduleGet: schedules.get,
    c.ScheduleDelete: schedules.delete,
    c.ScheduleSearch: schedules.search,
}


class Machine:
    """Every rule of the promise store, pure (semantics: all of it).

    All times are epoch milliseconds. `now` never goes backwards: an earlier one counts as the
    latest seen.

    One batch is ``lookups`` → the engine finds those ids → ``load`` → ``apply`` each command →
    ``sweep`` → owed messages (``take_*``) → ``take`` → the engine writes → ``committed``. Nothing
    owed may be sent before its batch is durable. No ``take`` stands between ``lookups`` (or
    ``due_lookups``) and the ``apply`` (or ``sweep``) that needs them, however long the engine takes
    to find the rows; ``committed`` of an earlier batch may come at any point.
    """

    def __init__(self, config: MachineConfig = MachineConfig()) -> None:  # noqa: B008 - frozen
        #: for tests and simulators, which look and do not touch
        self.state: Final = State(config)
        #: questions that change nothing
        self.view: Final = MachineView(self.state)
        #: where nodes run: whoever knows it notes it, for the attempt log
        self.hosts: Final = self.state.hosts
        #: deletes what an engine has found to be due: see `purges.purge`
        self.purge: Final = partial(purges.purge, self.state)

    # ---- history and restart --------------------------------------------------------------------

    def restore(self, snapshot: Snapshot, now: int, ahead: int = 0) -> None:
        """Go on from a snapshot; only for a machine that has done nothing yet.

        Leases run on from `now`. Pending tasks are offered by the next sweep, or at their delay;
        deadlines and schedules that came due meanwhile fire in the following sweeps. `ahead` is
        as in `follow`.
        """
        recovery.restore(self.state, snapshot, now, ahead)

    def admit(self, snapshot: Snapshot, now: int) -> None:
        """Take in the snapshot of more slots, of which nothing is in memory.

        They go on as after `restore`. Schedules run by the date that `follow` was told last.
        """
        recovery.admit(self.state, snapshot, now)

    def expel(self, slots: Collection[int]) -> list[str]:
        """Forget everything of these slots; another machine may have them from here on.

        Only between batches: nothing of these slots has changed since the last ``take``, every
        batch that was taken is ``committed``, and the messages owed about them were taken. The
        caller answers no command about these slots any more, also not one that was looked up.

        Returns
        -------
        The ids of their tasks that wait for a node.
        """
        return expulsion.expel(self.state, slots)

    def lookups(self, commands: Iterable[c.StoreCommand]) -> set[str]:
        """Return the ids that these commands name and that are not in memory."""
        return batches.lookups(self.state, commands)

    def due_lookups(self, now: int) -> set[str]:
        """Return the ids that a sweep at `now` may create for schedules, and not in memory."""
        return schedule_runs.due_lookups(self.state, self.state.clock(now))

    def load(self, rows: Iterable[Row]) -> None:
        """Take in the rows that the engine found: settled promises, until the next `take`."""
        batches.load(self.state, rows)

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
        """Acquire a task for a node that the broker has chosen; None where it is refused.

        It does what `TaskAcquire` does, without raising or making a reply, because it happens once
        for every call.
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

    def follow(self, ahead: int, now: int) -> None:
        """Let schedules run by the date that is `ahead` milliseconds less than this time.

        Nothing else follows a wall clock that is set. Not to be called between `due_lookups` and
        its `sweep`.
        """
        schedule_runs.follow(self.state, ahead, self.state.clock(now))

    def next_due(self) -> int | None:
        """Return a time no later than the next one in which a sweep has something to do.

        None if that is never.
        """
        due_at = next_due(self.state)
        return None if due_at == NEVER else due_at

    def release_pid(
        self,
        pid: str,
        now: int,
        keep: Collection[tuple[str, int]] = (),
        crash: str | None = None,
        presumed: bool = False,
    ) -> list[str]:
        """Return the tasks of a node that is gone to pending, due now; return their ids.

        The node is also no longer thought to have their activations, or those of suspended tasks
        that are not in `keep`.

        Parameters
        ----------
        keep
            (id, version) of tasks that the node still has, where it is back with only some.
        crash
            How the node vanished, if it did: counted against each of these tasks.
        presumed
            It is only presumed dead: `retract_crashes` takes the count back if it returns.
        """
        return leases.release_pid(self.state, pid, self.state.clock(now), keep, crash, presumed)

    def retract_crashes(self, pid: str, had: Iterable[tuple[str, int]]) -> None:
        """Note that a node is back which had these (id, version): none of them has killed it."""
        crash_counts.retract(self.state, pid, had)

    # ---- owed to the outside --------------------------------------------------------------------

    def take_executes(self) -> list[Execute]:
        """Return the tasks that were offered since the last call and still wait for a node."""
        s = self.state
        offers, s.offers = s.offers, {}
        return [
            execute_of(s.promises[task.id].record, task)
            for task in offers.values()
            if (task.state, "acquire") in TASK_TRANSITIONS
        ]

    def take_settled(self) -> list[Settlement]:
        """Return every promise that settled since the last call, in order."""
        settled, self.state.settled = self.state.settled, []
        return settled

    def take_unblocks(self) -> list[tuple[str, PromiseRecord]]:
        """Return (address, record) of each unblock that came to be owed since the last call."""
        s = self.state
        new, s.unblocks_new = s.unblocks_new, {}
        return [(key[1], s.unblocks[key]) for key in new]

    def owed_unblocks(self) -> list[tuple[str, PromiseRecord]]:
        """Return (address, record) of every unblock not yet acknowledged."""
        return [(address, record) for (_, address), record in self.state.unblocks.items()]

    def take_revoked(self) -> list[Revocation]:
        """Return the tasks that nodes have lost since the last call, in order."""
        revoked, self.state.revoked = self.state.revoked, []
        return revoked

    def take_requests(
        self,
    ) -> list[c.PromiseRegisterListener | c.PromiseOccur | c.PromiseSupersede]:
        """Return what the owners of other slots are to be asked for, until they answer.

        See `elsewhere` and `schedule_runs`. What becomes of an answer is said to `occurred` and
        `forget_ask`, and by a `PromiseAnnounce`.
        """
        s = self.state
        asks, s.asks = s.asks, []
        made, s.occurrences_elsewhere = s.occurrences_elsewhere, []
        listeners = [c.PromiseRegisterListener(id_, slot_address(slot)) for id_, slot in asks]
        cancels, s.cancels_elsewhere = s.cancels_elsewhere, []
        return [*listeners, *made, *cancels]

    def occurred(self, schedule_id: str, date: int) -> None:
        """Note that the promise of an occurrence exists; `date` is that of its `PromiseOccur`."""
        schedule_runs.occurred(self.state, schedule_id, date)

    def forget_ask(self, promise_id: str, slot: int) -> None:
        """Note that a promise does not exist that a slot was to listen to.

        Nothing waits for it any more; a task that does so again asks again.
        """
        elsewhere.take_awaiters(self.state, promise_id, slot)
        occurrences.settled(self.state, promise_id, slot)

    def acknowledge(self, promise_id: str, address: str) -> None:
        """Note that the receiver has an unblock; it is owed no longer."""
        batches.acknowledge(self.state, promise_id, address)

    # ---- owed to the engine ---------------------------------------------------------------------

    def take(self) -> Changes:
        """Return everything that changed since the last call, each object once, as it is now."""
        return batches.take(self.state)

    def committed(self, changes: Changes) -> None:
        """Note that a batch is durable: promises that settled in it leave memory."""
        batches.committed(self.state, changes)
