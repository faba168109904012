"""Results on their way back to the mailbox, in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from understudy_actors.activation import StepReport


class Results:
    """A queue from many threads to one, with one wake-up for all that has gathered.

    The bound is the work in hand: each run has at most one step under way, and a step hands out at
    most what the broker may leave unanswered.
    """

    def __init__(self, wake: Callable[[bool], None]) -> None:
        self._queue: deque[StepReport] = deque()
        self._wake = wake
        self._signalled = False
        #: steps and their duration since the last `take`; approximate, several threads add to it
        self._steps = 0
        self._busy_s = 0.0

    def __bool__(self) -> bool:
        """Whether there is something to take."""
        return bool(self._queue)

    def put(self, report: StepReport, *, last: bool = False) -> None:
        """`last`: this thread has nothing else to do now."""
        self._queue.append(report)
        if not self._signalled:
            self._signalled = True
            self._wake(last)

    def measured(self, steps: int, busy_s: float) -> None:
        self._steps += steps
        self._busy_s += busy_s

    def take(self) -> list[StepReport]:
        """All that is there. A `put` after this wakes again."""
        self._signalled = False
        queue = self._queue
        taken: list[StepReport] = []
        while queue:
            taken.append(queue.popleft())
        return taken

    def take_measured(self) -> tuple[int, float]:
        """Steps and milliseconds since the last time."""
        steps, busy_s = self._steps, self._busy_s
        self._steps, self._busy_s = 0, 0.0
        return steps, busy_s * 1000
