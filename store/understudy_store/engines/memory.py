"""An engine that keeps everything in memory, for tests and for programs that need no durability.

What it holds is gone when it is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from heapq import nsmallest
from math import inf
from operator import attrgetter, itemgetter
from threading import Lock
from time import monotonic
from typing import Final, TypeVar

from understudy_store.addresses import group_of
from understudy_store.calls import call_cursor, call_of, call_place, counted, is_wanted, place_of
from understudy_store.changes import Changes, Snapshot
from understudy_store.commands import (
    CallSearch,
    PromisePurge,
    PromiseSearch,
    Reply,
    RetentionRead,
    ScheduleSearch,
    StatsGet,
    TaskAttempts,
    TaskPreload,
    TaskSearch,
)
from understudy_store.engines.base import SOLE_EPOCH, Read, fenced
from understudy_store.engines.ended import ended
from understudy_store.engines.memory_history import MemoryHistory, stats_of
from understudy_store.engines.searches import (
    call_bytes,
    page,
    promise_bytes,
    schedule_bytes,
    task_bytes,
)
from understudy_store.errors import SearchTimeoutError, StoreError
from understudy_store.machine.projection import projected, projected_row
from understudy_store.pending_row import to_pending_row
from understudy_store.records import (
    TAG_BRANCH,
    AttemptRecord,
    Row,
    ScheduleRecord,
    TaskRecord,
    forgotten_attempt,
    is_gone,
    origin_of,
)

T = TypeVar("T")

_id_of: Final = attrgetter("id")
_place_of: Final = itemgetter(0)
#: rows after which a search looks at the clock again
_CHECKED_ROWS: Final = 256


class MemoryEngine:
    """Promises in dictionaries: the engine that the others must equal."""

    def __init__(self) -> None:
        #: held while rows change or several are looked up, so that a find sees no half of a commit
        self._lock = Lock()
        self._now = 0
        self._rows: dict[str, Row] = {}
        #: branch tag, and the ids that have it
        self._branches: dict[str, list[str]] = {}
        self._callbacks: dict[str, dict[str, None]] = {}
        self._listeners: dict[str, dict[str, None]] = {}
        self._unblocks: dict[tuple[str, str], None] = {}
        self._schedules: dict[str, ScheduleRecord] = {}
        self._facts: dict[str, str] = {}
        #: by id of the task, then by number
        self._attempts: dict[str, dict[int, AttemptRecord]] = {}

    @property
    def description(self) -> str:
        return "memory (not durable)"

    @property
    def inline(self) -> bool:
        return True

    def load(self) -> Snapshot:
        return Snapshot(
            now=self._now,
            live=[to_pending_row(row) for row in self._rows.values() if not row.promise.settled],
            callbacks=_pairs(self._callbacks),
            listeners=_pairs(self._listeners),
            unblocks=[(self._rows[id_].promise, address) for id_, address in self._unblocks],
            schedules=list(self._schedules.values()),
        )

    def fact(self, key: str) -> str | None:
        return self._facts.get(key)

    def put_fact(self, key: str, text: str) -> None:
        self._facts[key] = text

    def find(self, ids: Collection[str]) -> list[Row]:
        with self._lock:
            found = [self._rows.get(id_) for id_ in dict.fromkeys(ids)]
        return [row for row in found if row is not None]

    def commit(self, changes: Changes, reads: Sequence[Read], epoch: int) -> list[Reply]:
        if epoch != SOLE_EPOCH:
            raise fenced(epoch)
        if changes:
            self._check(changes)
            with self._lock:
                self._write(changes)
        return [self._answer(read) for read in reads]

    def search(self, read: Read, time_limit_s: float) -> Reply:
        return self._answer(read, monotonic() + time_limit_s)

    def watch(self, on_failure: Callable[[StoreError], None]) -> None:
        pass

    def stop_waiting(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _check(self, changes: Changes) -> None:
        """Refuse changes that cannot come next, before the first is made.

        So a commit is done wholly or not at all.
        """
        rows = self._rows
        inserted: set[str] = set()
        for row in changes.inserted:
            id_ = row.promise.id
            if id_ in rows or id_ in inserted:
                raise StoreError(f"an inserted promise exists: {id_}")
            inserted.add(id_)
        for row in changes.updated:
            id_ = row.promise.id
            if id_ not in rows and id_ not in inserted:
                raise StoreError(f"an updated promise does not exist: {id_}")

    def _write(self, changes: Changes) -> None:
        if changes.purged:
            self._purge(changes)
        for row in changes.inserted:
            branch = row.promise.tags.get(TAG_BRANCH)
            if branch is not None:
                self._branches.setdefault(branch, []).append(row.promise.id)
        for row in (*changes.inserted, *changes.updated):
            self._rows[row.promise.id] = row
        for awaited, awaiter in changes.callbacks_added:
            self._callbacks.setdefault(awaited, {})[awaiter] = None
        for awaited, address in changes.listeners_added:
            self._listeners.setdefault(awaited, {})[address] = None
        self._unblocks.update(dict.fromkeys(changes.unblocks_added))
        self._schedules.update((schedule.id, schedule) for schedule in changes.schedules_put)
        for awaited in changes.callbacks_removed:
            self._callbacks.pop(awaited, None)
        for awaited in changes.listeners_removed:
            self._listeners.pop(awaited, None)
        for key in changes.unblocks_removed:
            self._unblocks.pop(key, None)
        for schedule_id in changes.schedules_deleted:
            self._schedules.pop(schedule_id, None)
        for attempt in changes.attempts:
            of_task = self._attempts.setdefault(attempt.id, {})
            of_task[attempt.n] = attempt
            of_task.pop(forgotten_attempt(attempt.n) or 0, None)
        self._now = max(self._now, changes.now)

    def _purge(self, changes: Changes) -> None:
        gone = frozenset(changes.purged)
        branches: dict[str, None] = {}
        for id_ in gone:
            row = self._rows.pop(id_, None)
            self._attempts.pop(id_, None)
            branch = None if row is None else row.promise.tags.get(TAG_BRANCH)
            if branch is not None:
                branches[branch] = None
        for branch in branches:
            left = [each for each in self._branches[branch] if each not in gone]
            if left:
                self._branches[branch] = left
            else:
                del self._branches[branch]
        for row in changes.replaced:
            self._rows[row.promise.id] = row
            branch = row.promise.tags.get(TAG_BRANCH)
            if branch is not None:
                self._branches.setdefault(branch, []).append(row.promise.id)

    def _answer(self, read: Read, until: float = inf) -> Reply:
        command = read.command
        match command:
            case TaskPreload():
                return self._preload(command, read.now)
            case PromiseSearch():
                return self._search_promises(command, read.now, until)
            case TaskSearch():
                return self._search_tasks(command, read.now, until)
            case TaskAttempts():
                with self._lock:
                    found = sorted(self._attempts.get(command.id, {}).items())
                return Reply(200, attempts=[attempt for _, attempt in found])
            case CallSearch():
                return self._search_calls(command, read.now, until)
            case PromisePurge() | RetentionRead():
                return ended(self._history(until), command, read.now)
            case StatsGet():
                rows = list(self._all(self._rows, until))
                with self._lock:
                    attempts = sum(map(len, self._attempts.values()))
                return Reply(200, stats=stats_of(rows, attempts))
            case ScheduleSearch():
                return self._search_schedules(command, until)

    def _preload(self, command: TaskPreload, now: int) -> Reply:
        task = self._rows.get(command.id)
        if task is None:
            return Reply(200, promises=[])
        origin = origin_of(task.promise)
        children = (self._rows[id_].promise for id_ in sorted(self._branches.get(command.id, ())))
        return Reply(
            200,
            promises=[
                projected(child, now)
                for child in children
                if origin_of(child) in (origin, child.id)  # that of a detached call is its own
            ],
        )

    def _all(self, records: Mapping[str, T], until: float) -> Iterator[T]:
        """Return what there is at this moment, as long as there is time, while others commit."""
        with self._lock:
            found = list(records.values())
        for place, each in enumerate(found):
            if not place % _CHECKED_ROWS and monotonic() >= until:
                raise SearchTimeoutError("a search of the store in memory took too long")
            yield each

    def _search_promises(self, command: PromiseSearch, now: int, until: float) -> Reply:
        promises = (
            projected(row.promise, now)
            for row in self._all(self._rows, until)
            if _in_page(row.promise.id, command.prefix, command.cursor)
            and not is_gone(row.promise)
            and (command.origin is None or origin_of(row.promise) == command.origin)
            and command.tags.items() <= row.promise.tags.items()
        )
        matching = (p for p in promises if command.state in (None, p.state))
        found = nsmallest(command.limit + 1, matching, key=_id_of)
        items, cursor = page(found, command.limit, _id_of, promise_bytes)
        return Reply(200, promises=items, cursor=cursor)

    def _search_tasks(self, command: TaskSearch, now: int, until: float) -> Reply:
        matching = self._tasks(command, now, until)
        found = nsmallest(command.limit + 1, matching, key=_id_of)
        items, cursor = page(found, command.limit, _id_of, task_bytes)
        return Reply(200, tasks=items, cursor=cursor)

    def _tasks(self, command: TaskSearch, now: int, until: float) -> Iterable[TaskRecord]:
        for row in self._all(self._rows, until):
            if row.task is None or not _in_page(row.promise.id, "", command.cursor):
                continue
            task = projected_row(row, now).task
            assert task is not None
            if command.state in (None, task.state) and command.group in (
                None,
                group_of(task.target),
            ):
                yield task

    def _search_calls(self, command: CallSearch, now: int, until: float) -> Reply:
        found = []
        for row in self._all(self._rows, until):
            call = call_of(projected_row(row, now))
            if call is not None and is_wanted(call, row.promise.state, command, now):
                found.append((place_of(call, command), call))
        found.sort(key=_place_of, reverse=True)
        counts = counted(call.state for _, call in found) if command.counts else None
        place = None if command.cursor is None else call_place(command.cursor)
        after = [each for each in found if place is None or each[0] < place]
        items, cursor = page(
            after,
            command.limit,
            lambda each: call_cursor(each[0]),
            lambda each: call_bytes(each[1]),
        )
        return Reply(200, calls=[call for _, call in items], cursor=cursor, counts=counts)

    def _history(self, until: float) -> MemoryHistory:
        rows = list(self._all(self._rows, until))
        with self._lock:
            awaiters = {each for of_one in self._callbacks.values() for each in of_one}
            owed = {id_ for id_, _ in self._unblocks}
        return MemoryHistory(rows, awaiters | owed)

    def _search_schedules(self, command: ScheduleSearch, until: float) -> Reply:
        matching = (
            schedule
            for schedule in self._all(self._schedules, until)
            if _in_page(schedule.id, command.prefix, command.cursor)
        )
        found = nsmallest(command.limit + 1, matching, key=_id_of)
        items, cursor = page(found, command.limit, _id_of, schedule_bytes)
        return Reply(200, schedules=items, cursor=cursor)


def _pairs(sets: dict[str, dict[str, None]]) -> list[tuple[str, str]]:
    return [(key, member) for key, members in sets.items() for member in members]


def _in_page(id_: str, prefix: str, cursor: str | None) -> bool:
    return id_.startswith(prefix) and (cursor is None or id_ > cursor)
