"""Strands: the lines of calls within one run, each with an order of its own.

A generator makes one call after the other, and so does a coroutine that starts no tasks: one
strand, whose n-th call has the id ``x.n``. Tasks of a coroutine run side by side. Which of them is
first to make its next call depends on what settled first, and a replay, which knows all results,
would see another order. So every task is a strand of its own, with its own numbers, time and random
numbers. Its name says where it began: ``x.fetch-2`` is the second task of ``fetch`` that the
function of the run ``x`` has started, and its calls are ``x.fetch-2.1``, ``x.fetch-2.2``. These
names follow from the order in which one strand starts its tasks, and from nothing else.

Tasks are counted by name, because a library starts tasks too (to connect, say), and not always the
same number of them.

A task that was renamed is a new strand, whose calls would be made a second time before the end of
the function tells that the old ones are left over. So `RecordedStrands` holds back the new calls of
a strand without history for as long as a strand of the history has not begun. If the code is
unchanged, that is over soon: the run that made the history has begun all of its strands without
these calls.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from understudy_actors.interpreter.child_ids import child_id
from understudy_actors.interpreter.empty import NO_NAMES
from understudy_store.limits import ID_CHARS_MAX

#: characters of a task's name in ids
_NAME_CHARS_MAX: Final = 40
_UNUSUAL: Final = re.compile(r"[^A-Za-z0-9_]+")
#: Matches what is left of a strand's id in the id of a call that was too long (see `child_ids`).
_SHORTENED: Final = re.compile(r"~[0-9a-f]{32}$")


class Strand(msgspec.Struct, eq=False):
    """One line of calls.

    Attributes
    ----------
    id
        The id of the run, or that of the task's strand; the ids of calls begin with it.
    time_ms
        ``ctx.time`` in epoch milliseconds: at first that of where the strand began, then the latest
        result that it has seen settled.
    calls_made
        Number of calls so far.
    tasks_called
        Whether a task that began here, or in the strand of such a task, has made calls.
    """

    id: str
    time_ms: int
    calls_made: int = 0
    tasks_called: bool = False
    _random: random.Random | None = None
    #: number of tasks started so far, by name
    _tasks: dict[str, int] = NO_NAMES

    def next_id(self) -> str:
        """Number the next call, and return the id that follows from that."""
        self.calls_made += 1
        id = f"{self.id}.{self.calls_made}"
        return id if len(id) <= ID_CHARS_MAX else child_id(self.id, self.calls_made)

    def see(self, settled_at: int | None) -> None:
        """Note that the function has seen a result that settled then."""
        if settled_at is not None and settled_at > self.time_ms:
            self.time_ms = settled_at

    @property
    def random(self) -> random.Random:
        """Random numbers that a replay repeats, because the id is their seed."""
        if self._random is None:
            self._random = random.Random(self.id)
        return self._random

    def branch(self, name: str) -> Strand:
        """Begin the strand of a task.

        Parameters
        ----------
        name
            The qualified name of what the task runs.
        """
        name = _UNUSUAL.sub("-", name.rsplit(".", 1)[-1]).strip("-")[:_NAME_CHARS_MAX] or "task"
        if self._tasks is NO_NAMES:
            self._tasks = {}
        count = self._tasks[name] = self._tasks.get(name, 0) + 1
        return Strand(f"{self.id}.{name}-{count}", self.time_ms)


class RecordedStrands:
    """The strands of tasks in a history, some of which have not begun again yet.

    Parameters
    ----------
    own
        The id of the run, whose own strand is always there.
    places
        The ids that the recorded calls have by their place.
    """

    __slots__ = ("_known", "_missing")

    def __init__(self, own: str, places: Iterable[str]) -> None:
        self._known = {own}
        self._known.update(strand for place in places if (strand := _strand_of(place)) is not None)
        self._missing = self._known - {own}

    def begun(self, strand: str) -> None:
        """Note that a task has begun a strand."""
        self._missing.discard(strand)

    def is_doubtful(self, place: str) -> bool:
        """Return whether the call in this place may be made anew because its task was renamed."""
        if not self._missing:
            return False
        strand = _strand_of(place)
        return strand is not None and strand not in self._known

    @property
    def all_begun(self) -> bool:
        """True if all of them have begun."""
        return not self._missing

    def is_missing(self, place: str) -> bool:
        """Return whether the strand that a place belongs to has not begun."""
        return _strand_of(place) in self._missing


def _strand_of(place: str) -> str | None:
    """Return the id of the strand that a place belongs to; None if the place does not tell."""
    strand = place.rpartition(".")[0]
    return None if _SHORTENED.search(strand) else strand
