"""The memory that an edge has of the clients of the older REST; see `legacy`. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

#: tasks whose callbacks and claims are remembered
_TASKS_MAX: Final = 100_000


class Waits:
    """The promises that a task is to be resumed by, as far as its client was not told of them.

    Attributes
    ----------
    awaited
        All that the client has named.
    owed
        Those that have settled.
    guesses
        Others that have settled, and that it may wait for: this edge was not told. The first is
        named next.
    """

    __slots__ = ("_told", "awaited", "guesses", "owed")

    def __init__(self) -> None:
        self.awaited: dict[str, None] = {}
        self.owed: dict[str, None] = {}
        self.guesses: deque[str] = deque()
        self._told: set[str] = set()

    def wait_for(self, id_: str) -> None:
        """Note that the client waits for a promise: it names all of them, if it names one."""
        self.awaited[id_] = None
        self.guesses.clear()

    def settled(self, *ids: str) -> None:
        """Note that promises have settled, of which the client is to be told."""
        self.owed.update((id_, None) for id_ in ids if id_ not in self._told)

    def told(self, id_: str) -> None:
        """Note that the client knows that a promise has settled."""
        self.awaited.pop(id_, None)
        self.owed.pop(id_, None)
        if self.guesses and self.guesses[0] == id_:
            self.guesses.popleft()
        self._told.add(id_)

    def begin(self) -> None:
        """Note that the store remembers no settlement, from now on, of which the client knows."""
        self._told.clear()

    @property
    def next(self) -> str | None:
        """The promise by which the task is resumed next; None: no promise."""
        return next(iter(self.owed), self.guesses[0] if self.guesses else None)


class Clients:
    """Memory of clients, kept by one edge.

    It is the promises that tasks are to be resumed by, until they are completed, by the task's id;
    the tasks that each process has claimed, for the number in the answer to a heartbeat; and the
    last claim of each process and task, to answer it again.

    Parameters
    ----------
    address_of
        Returns the address of the listener that has a process's id as its name; None: there is none
        at this edge.
    """

    def __init__(self, address_of: Callable[[str], str | None]) -> None:
        self.address_of = address_of
        self._waits: OrderedDict[str, Waits] = OrderedDict()
        self._claimed: OrderedDict[str, set[str]] = OrderedDict()
        self._counters: OrderedDict[tuple[str, str], int] = OrderedDict()

    def waits(self, task_id: str) -> Waits:
        """Return what a task waits for; to be changed."""
        waits = self._waits.get(task_id)
        if waits is None:
            waits = self._waits[task_id] = Waits()
            if len(self._waits) > _TASKS_MAX:
                self._waits.popitem(last=False)
        self._waits.move_to_end(task_id)
        return waits

    def forget(self, task_id: str) -> None:
        """Forget what a task waits for, because it has ended."""
        self._waits.pop(task_id, None)

    def claimed(self, pid: str, task_id: str, counter: int) -> None:
        """Note that a process has claimed a task."""
        self._claimed.setdefault(pid, set()).add(task_id)
        self._claimed.move_to_end(pid)
        if len(self._claimed) > _TASKS_MAX:
            self._claimed.popitem(last=False)
        self._counters[pid, task_id] = counter
        self._counters.move_to_end((pid, task_id))
        if len(self._counters) > _TASKS_MAX:
            self._counters.popitem(last=False)

    def has_claimed(self, pid: str, task_id: str, counter: int) -> bool:
        """Return whether this was the last claim of a task by a process."""
        return self._counters.get((pid, task_id)) == counter

    def held(self, pid: str) -> int | None:
        """Return how many tasks a process has; None: this edge does not know it."""
        held = self._claimed.get(pid)
        return None if held is None else len(held)

    def completed(self, task_id: str) -> None:
        """Note that a task is no longer with its client."""
        for held in self._claimed.values():
            held.discard(task_id)
