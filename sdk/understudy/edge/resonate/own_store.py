"""A machine of the edge's own, with a clock that is set: for debug operations, and for tests. Pure.

It keeps everything in memory and shares nothing with a broker. Its time is whatever each call says,
and it may go back, which no broker's does: what has happened stays, and what comes is at that time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from understudy.edge.resonate.messages import execute_json, unblock_json
from understudy.edge.resonate.records import promise_json, task_json
from understudy_store.commands import (
    PromiseSearch,
    ReadCommand,
    Reply,
    ScheduleSearch,
    StoreCommand,
    TaskPreload,
    TaskSearch,
)
from understudy_store.engines.base import SOLE_EPOCH, Read
from understudy_store.engines.memory import MemoryEngine
from understudy_store.machine import Execute, Machine, MachineConfig
from understudy_store.machine.sweep import offer_due
from understudy_store.records import PromiseRecord, TaskRecord

#: how long after an offer their servers repeat it
_RETRY_MS: Final = 30_000
_PAGE_MAX: Final = 1_000
_READS: Final = (TaskPreload, PromiseSearch, TaskSearch, ScheduleSearch)
#: rounds of a sweep; each does thousands of transitions
_ROUNDS_MAX: Final = 10_000


class OwnStore:
    """A machine and its engine; see the module."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._machine = Machine(MachineConfig(retry_timeout_ms=_RETRY_MS))
        self._engine = MemoryEngine()
        #: offers and unblocks that nobody has taken, by address and id
        self._executes: dict[str, Execute] = {}
        self._unblocks: dict[tuple[str, str], PromiseRecord] = {}

    # Commands ------------------------------------------------------------------------------------

    def ask_all(self, commands: Sequence[StoreCommand], now: int) -> list[Reply]:
        """Perform commands, and return their replies."""
        self._set_clock(now)
        self._machine.load(self._engine.find(self._machine.lookups(commands)))
        replies: list[Reply] = []
        reads: list[tuple[int, ReadCommand]] = []
        for place, command in enumerate(commands):
            reply = self._machine.apply(command, now)
            replies.append(reply)
            if reply.ok and isinstance(command, _READS):
                reads.append((place, command))
        offer_due(self._machine.state, now)
        answers = self._commit([Read(command, now) for _, command in reads])
        for (place, _), answer in zip(reads, answers, strict=True):
            replies[place] = answer
        return replies

    def sweep(self, now: int) -> None:
        """Do all that is due at a time."""
        self._set_clock(now)
        for _ in range(_ROUNDS_MAX):
            self._machine.load(self._engine.find(self._machine.due_lookups(now)))
            more = self._machine.sweep(now)
            self._commit([])
            if not more:
                return

    def _set_clock(self, now: int) -> None:
        # Only here: a machine of a broker never goes back.
        self._machine.state.now = now

    def _commit(self, reads: list[Read]) -> list[Reply]:
        machine = self._machine
        machine.take_settled()
        machine.take_revoked()
        for execute in machine.take_executes():
            self._executes[execute.id] = execute
        for address, promise in machine.take_unblocks():
            self._unblocks[promise.id, address] = promise
        changes = machine.take()
        answers = self._engine.commit(changes, reads, SOLE_EPOCH)
        machine.committed(changes)
        return answers

    # Messages ------------------------------------------------------------------------------------

    def executes(self) -> list[Execute]:
        """Return the offers that nobody has taken, of tasks that still wait."""
        view = self._machine.view
        for id_, execute in list(self._executes.items()):
            offered = view.offer(id_)
            if offered is None or offered.version != execute.version:
                del self._executes[id_]
        return list(self._executes.values())

    def unblocks(self) -> list[tuple[str, PromiseRecord]]:
        """Return the unblocks that nobody has taken, with their addresses."""
        return [(address, promise) for (_, address), promise in self._unblocks.items()]

    def take_messages(self) -> tuple[list[Execute], list[tuple[str, PromiseRecord]]]:
        """Return all offers and unblocks, and keep none: one attempt is made with each."""
        found = self.executes(), self.unblocks()
        for address, promise in found[1]:
            self._machine.acknowledge(promise.id, address)
        self._executes, self._unblocks = {}, {}
        return found

    # The dump ------------------------------------------------------------------------------------

    def dump(self, now: int, server_url: str) -> dict[str, Any]:
        """Return everything that there is, for ``debug.snap``."""
        promises, tasks = self._everything(now)
        snapshot = self._engine.load()
        pending = [each for each in promises if not each.settled]
        executes = [
            (each.target, execute_json(each.id, each.version, server_url))
            for each in self.executes()
        ]
        unblocks = [(address, unblock_json(promise)) for address, promise in self.unblocks()]
        return {
            "promises": [promise_json(each) for each in promises],
            "promiseTimeouts": [{"id": each.id, "timeout": each.timeout_at} for each in pending],
            "callbacks": [{"awaiter": b, "awaited": a} for a, b in snapshot.callbacks],
            "listeners": [{"id": id_, "address": address} for id_, address in snapshot.listeners],
            "tasks": [task_json(each) for each in tasks],
            "taskTimeouts": [each for task in tasks if (each := self._timeout(task))],
            "messages": [{"address": a, "message": m} for a, m in (*executes, *unblocks)],
        }

    def _timeout(self, task: TaskRecord) -> dict[str, Any] | None:
        live = self._machine.view.task(task.id) or task
        if live.retry_at is not None:
            return {"id": task.id, "type": 0, "timeout": live.retry_at}
        if live.expires_at is not None:
            return {"id": task.id, "type": 1, "timeout": live.expires_at}
        return None

    def _everything(self, now: int) -> tuple[list[PromiseRecord], list[TaskRecord]]:
        promises: list[PromiseRecord] = []
        tasks: list[TaskRecord] = []
        for search in (PromiseSearch, TaskSearch):
            cursor: str | None = None
            while True:
                (reply,) = self.ask_all((search(limit=_PAGE_MAX, cursor=cursor),), now)
                promises += reply.promises or ()
                tasks += reply.tasks or ()
                cursor = reply.cursor
                if cursor is None:
                    break
        return promises, tasks
