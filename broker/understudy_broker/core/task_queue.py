"""Task queues of the dispatcher: tasks that wait for a node, by priority. Pure."""

from __future__ import annotations

from collections import deque
from typing import Protocol, TypeAlias

#: A function as a call names it: name, and version or None for whichever.
Callee: TypeAlias = tuple[str, str | None]


class ExecuteLike(Protocol):
    """A pending task that is to be handed out: `understudy_store.machine.Execute` is one."""

    @property
    def id(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def target(self) -> str: ...
    @property
    def priority(self) -> int: ...
    @property
    def warm(self) -> str | None: ...
    @property
    def crash_count(self) -> int: ...
    @property
    def callee(self) -> Callee | None: ...


class Entry:
    """A queued task.

    Attributes
    ----------
    callee
        The function that the task calls; None: any node may have the task.
    warm
        Pid of the node that may still have the task's activation in memory.
    prefers
        Name of the node that the task's address prefers.
    priority
        The priority of the task.
    since
        When the task was queued, epoch milliseconds.
    alive
        False once the task was withdrawn or taken out.
    """

    __slots__ = (
        "id", "version", "callee", "warm", "prefers", "priority", "since", "queue", "alive",
    )  # fmt: skip

    def __init__(self, task: ExecuteLike, prefers: str | None, since: int, queue: Queue) -> None:
        self.id = task.id
        self.version = task.version
        self.callee = task.callee
        self.warm = task.warm
        self.prefers = prefers
        self.priority = task.priority
        self.since = since
        self.queue = queue
        self.alive = True


class Queue:
    """Entries by priority, first in first out within one.

    A withdrawn entry stays where it is, marked, and is skipped when it is reached.
    """

    __slots__ = ("_lanes", "_top", "_dead", "count")

    def __init__(self) -> None:
        self._lanes: dict[int, deque[Entry]] = {}
        self._top: int | None = None
        self._dead = 0
        self.count = 0

    def push(self, entry: Entry, priority: int) -> None:
        """Queue an entry behind those of the same priority."""
        lane = self._lanes.get(priority)
        if lane is None:
            lane = self._lanes[priority] = deque()
            if self._top is None or priority > self._top:
                self._top = priority
        lane.append(entry)
        self.count += 1

    def pop(self) -> Entry | None:
        """Take out the first entry of the highest priority; None if the queue is empty."""
        while self._top is not None:
            lane = self._lanes[self._top]
            while lane:
                entry = lane.popleft()
                if entry.alive:
                    entry.alive = False
                    self.count -= 1
                    return entry
                self._dead -= 1
            del self._lanes[self._top]
            self._top = max(self._lanes, default=None)
        return None

    def discard(self, entry: Entry) -> None:
        """Withdraw an entry."""
        entry.alive = False
        self.count -= 1
        self._dead += 1
        # The queue is rebuilt only after as many withdrawals as it has entries. Each withdrawal
        # therefore has a constant cost, and the memory stays bounded.
        if self._dead > 64 and self._dead > self.count:
            for priority, lane in list(self._lanes.items()):
                alive = deque(entry for entry in lane if entry.alive)
                if alive:
                    self._lanes[priority] = alive
                else:
                    del self._lanes[priority]
            self._top = max(self._lanes, default=None)
            self._dead = 0

    def take_all(self) -> list[tuple[int, Entry]]:
        """Take out all entries, each with its priority, in the order of arrival within one."""
        taken = [(key, each) for key, lane in self._lanes.items() for each in lane if each.alive]
        self._lanes, self._top, self._dead, self.count = {}, None, 0, 0
        return taken

    def waiting_since(self) -> int | None:
        """Return when the oldest entry was queued; None if the queue is empty."""
        # Each lane is in the order of arrival, so its first living entry is its oldest.
        heads = (next((e.since for e in lane if e.alive), None) for lane in self._lanes.values())
        return min((since for since in heads if since is not None), default=None)
