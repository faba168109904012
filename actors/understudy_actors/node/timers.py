"""Actions of a node that are due later: the end of a linger, the next attempt of a local call."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from understudy_actors.node.state import NodeState


class Timers:
    """Actions in the order in which they are due. None is ever taken out: each checks, when it is
    called, whether there is still something to do."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        #: (epoch milliseconds, number, action); the number keeps equal times in order
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._number = 0
        #: time of the first action, epoch milliseconds; None if there is none
        self.next_due: int | None = None

    def add(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Call `action` in `delay_ms` milliseconds."""
        self._number += 1
        heappush(self._heap, (self._state.now_ms + delay_ms, self._number, action))
        self.next_due = self._heap[0][0]

    def run_due(self) -> None:
        """Call the actions that are due, and those that they add for this same moment."""
        heap, now_ms = self._heap, self._state.now_ms
        while heap and heap[0][0] <= now_ms:
            _, _, action = heappop(heap)
            action()
        self.next_due = heap[0][0] if heap else None
