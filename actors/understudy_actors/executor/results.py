"""The queue of step reports from worker threads to the node."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from understudy_actors.activation import StepReport
from understudy_actors.executor.forked import tell_copies_of


class Results:
    """A queue from many threads to the node, with one wake-up for all reports that gather.

    No report is overlooked: `put` appends before it reads `_signaled`, and `take` clears
    `_signaled` before it empties the queue. Whatever the order of the two, either this `take` finds
    the report or that `put` wakes the node.

    It needs no bound of its own. Each run has at most one step under way, and a step reports at
    most as many commands as the broker may leave unanswered.

    Parameters
    ----------
    wake
        Called on the thread of the first `put` after a `take`, with its `worker_idle`.

    Attributes
    ----------
    is_copy
        True in a process that was forked from the node's: nobody takes the reports.
    """

    def __init__(self, wake: Callable[[bool], None]) -> None:
        self._queue: deque[StepReport] = deque()
        self._wake = wake
        self._signaled = False
        self.is_copy = False
        tell_copies_of(self)
        # Several threads add to these without a lock. A lost addition makes the averages, which
        # are estimates, a little less exact.
        self._steps = 0
        self._busy_s = 0.0

    def forked(self) -> None:
        """Note, in a process that was just forked, that this is a copy."""
        self.is_copy = True

    def __bool__(self) -> bool:
        """True if a report waits."""
        return bool(self._queue)

    def put(self, report: StepReport, *, worker_idle: bool = False) -> None:
        """Append a report, and wake the node unless it has been woken already.

        `worker_idle` says that the calling thread has no other run to step, so that it may handle
        the report itself.
        """
        self._queue.append(report)
        if not self._signaled:
            self._signaled = True
            self._wake(worker_idle)

    def take(self) -> list[StepReport]:
        """Return all reports that wait. The next `put` wakes the node again."""
        self._signaled = False
        queue = self._queue
        taken: list[StepReport] = []
        while queue:
            taken.append(queue.popleft())
        return taken

    def add_busy_time(self, steps: int, busy_s: float) -> None:
        """Add a number of steps and the seconds that they have taken together."""
        self._steps += steps
        self._busy_s += busy_s

    def take_busy_time(self) -> tuple[int, float]:
        """Return the steps since the last call, and the milliseconds that they have taken."""
        steps, busy_s = self._steps, self._busy_s
        self._steps, self._busy_s = 0, 0.0
        return steps, busy_s * 1000
