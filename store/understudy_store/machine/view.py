"""Questions about a machine that change nothing.

For the broker's bookkeeping, and for tests and simulators.
"""

from __future__ import annotations

from collections.abc import Iterator

from understudy_store.machine import elsewhere, packed
from understudy_store.machine.live import Execute, Statistics, execute_of
from understudy_store.machine.state import State
from understudy_store.machine.transitions import TASK_TRANSITIONS
from understudy_store.records import PromiseRecord, ScheduleRecord, TaskRecord, foreign_name


class MachineView:
    """A machine as it is now. Records are as they are in memory, not projected."""

    __slots__ = ("_state",)

    def __init__(self, state: State) -> None:
        self._state = state

    def record(self, id: str) -> PromiseRecord | None:
        """Return the promise, if it is in memory."""
        promise = packed.get(self._state, id)
        return None if promise is None else promise.record

    def task(self, id: str) -> TaskRecord | None:
        """Return the task, if it is in memory."""
        promise = packed.get(self._state, id)
        return None if promise is None or promise.task is None else promise.task.record()

    def records(self) -> Iterator[PromiseRecord]:
        """Yield every promise that is in memory."""
        return (promise.record for promise in packed.all_promises(self._state))

    def schedule(self, id: str) -> ScheduleRecord | None:
        """Return the schedule; None if there is none."""
        return self._state.schedules.get(id)

    def schedules(self) -> Iterator[ScheduleRecord]:
        """Yield every schedule."""
        return iter(self._state.schedules.values())

    def pids(self) -> list[str]:
        """Return the nodes that have acquired something."""
        return [pid for pid, holder in self._state.holders.items() if holder.held]

    def peer_pids(self) -> list[str]:
        """Return those of `pids` that are peers, whose processes may be watched."""
        return [pid for pid in self.pids() if foreign_name(pid) is None]

    def offer(self, id: str) -> Execute | None:
        """Return a pending task as it is offered; None if there is none, or it is not pending."""
        promise = packed.get(self._state, id)
        task = None if promise is None else promise.task
        if promise is None or task is None or (task.state, "acquire") not in TASK_TRANSITIONS:
            return None
        return execute_of(promise.record, task)

    @property
    def acquired_count(self) -> int:
        """The number of tasks that all nodes together have acquired."""
        return self._state.counts["acquired"]

    def held(self, pid: str) -> list[tuple[str, int]]:
        """Return (id, version) of all tasks that a node has acquired."""
        holder = self._state.holders.get(pid)
        return [] if holder is None else [(t.id, t.version) for t in holder.held.values()]

    def held_count(self, pid: str) -> int:
        """Return the number of tasks that a node has acquired."""
        holder = self._state.holders.get(pid)
        return 0 if holder is None else len(holder.held)

    def holds(self, pid: str, id: str, version: int) -> bool:
        """Return whether a node has acquired (id, version)."""
        holder = self._state.holders.get(pid)
        task = None if holder is None else holder.held.get(id)
        return task is not None and task.version == version

    def holder(self, id: str, version: int) -> str | None:
        """Return the pid of the node that has acquired (id, version); None if none has."""
        promise = packed.get(self._state, id)
        task = None if promise is None else promise.task
        return None if task is None or task.version != version else task.pid

    def awaiters(self, promise_id: str, slot: int) -> list[str]:
        """Return the tasks of a slot that wait for a promise of another one."""
        return elsewhere.awaiters(self._state, promise_id, slot)

    def task_counts(self) -> dict[str, int]:
        """Return the numbers of tasks by their states, but for those that are fulfilled."""
        counts = self._state.counts
        return {state: count for state, count in counts.items() if state != "fulfilled"}

    @property
    def pending_count(self) -> int:
        """The number of pending promises."""
        return self._state.pending

    def schedule_lag_ms(self, now: int) -> int:
        """Return how late the schedule is that is due first; 0: none is due."""
        return max(0, now - self._state.occurrences.next_at)

    def statistics(self) -> Statistics:
        """Return counts of what is in memory."""
        s = self._state
        return Statistics(
            promises_pending=s.pending,
            promises_in_memory=len(s.promises) + len(s.packed),
            tasks_pending=s.counts["pending"],
            tasks_acquired=s.counts["acquired"],
            tasks_suspended=s.counts["suspended"],
            tasks_halted=s.counts["halted"],
            schedules=len(s.schedules),
            unblocks_owed=len(s.unblocks),
            timers_armed=sum(map(len, (s.deadlines, s.offers_due, s.leases, s.occurrences))),
        )
