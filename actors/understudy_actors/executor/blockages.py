"""The functions that keep a node from its work: they block an event loop, or all worker threads.

Whoever watches over a node asks for them on a thread of its own, while the node's loop notes once a
second how far the workers have come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from threading import Thread
from typing import Final, NamedTuple

from understudy_actors.executor.executor import Executor
from understudy_actors.executor.stall_watch import current_line

#: lines of code that are named
_LINES_MAX: Final = 4


class Blockage(NamedTuple):
    """A loop, or the workers, and for how long they have been blocked.

    Attributes
    ----------
    who
        The name of a loop, or "workers".
    lines
        The lines of code at which the blocked threads are.
    """

    who: str
    for_s: float
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """Return it in words."""
        where = "; ".join(self.lines) or "a place unknown"
        if self.who == "workers":
            return f"all worker threads have been in functions for {self.for_s:.0f} s: {where}"
        return f"the {self.who} loop has been blocked for {self.for_s:.0f} s by {where}"

    @property
    def brief(self) -> str:
        """Return it in words, without the time, which whoever is told counts himself."""
        where = "; ".join(self.lines) or "a place unknown"
        if self.who == "workers":
            return f"all its worker threads are in functions: {where}"
        return f"its {self.who} loop is blocked by {where}"


#: workers that have been in functions for less are at work
WORKERS_S: Final = 5.0
#: a loop that has been blocked for less may just be busy
LOOPS_S: Final = 1.0


class Blockages:
    """Finds what is blocked in one node."""

    def __init__(self, executor: Executor, clock: Callable[[], float] = time.monotonic) -> None:
        self._executor = executor
        self._clock = clock
        self._begun = -1
        #: since when all workers have been inside functions; None: they are not
        self._full_since: float | None = None

    def look(self) -> None:
        """Note how far the workers have come; called once a second while there is work."""
        workers = self._executor.workers
        if not workers.is_full or workers.begun != self._begun:
            self._begun, self._full_since = workers.begun, None
        if workers.is_full and self._full_since is None:
            self._full_since = self._clock()

    def brief(self) -> str:
        """Return all that is blocked, in words; empty: nothing is."""
        return "; ".join(each.brief for each in (*self.loops(LOOPS_S), *self.workers(WORKERS_S)))

    def loops(self, after_s: float) -> list[Blockage]:
        """Return the event loops that have been blocked for so long. Any thread may ask."""
        return [
            Blockage(name, for_s, _lines(loop.threads))
            for name, loop in self._executor.loops.items()
            if (for_s := loop.blocked_s()) and for_s >= after_s
        ]

    def workers(self, after_s: float) -> list[Blockage]:
        """Return the workers, if all have been inside functions for so long. Any thread may ask."""
        since, workers = self._full_since, self._executor.workers
        for_s = 0.0 if since is None else self._clock() - since
        if since is None or for_s < after_s or not workers.is_full or workers.begun != self._begun:
            return []
        return [Blockage("workers", for_s, _lines(workers.threads))]


def _lines(threads: Iterable[Thread]) -> tuple[str, ...]:
    found = dict.fromkeys(line for thread in threads if (line := current_line(thread)) is not None)
    return tuple(found)[:_LINES_MAX]
