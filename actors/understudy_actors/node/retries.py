"""Local calls that failed and are to be run again on this node."""

from __future__ import annotations

from understudy_actors.activation import Run
from understudy_actors.node.state import NodeState


class Retries:
    """Runs that wait for their next attempt. Their activation stays busy and keeps its lease."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        #: (epoch milliseconds, run), in any order: there are few
        self._waiting: list[tuple[int, Run]] = []

    def add(self, run: Run, delay_ms: int) -> None:
        """Run a local call again after `delay_ms` milliseconds."""
        run.activation.busy += 1
        self._waiting.append((self._state.now_ms + delay_ms, run))

    def next_due(self) -> int | None:
        """Return when the first attempt is due, epoch milliseconds; None if none waits."""
        return min(at_ms for at_ms, _ in self._waiting) if self._waiting else None

    def run_due(self) -> None:
        """Schedule the attempts that are due."""
        if not self._waiting:
            return
        now_ms = self._state.now_ms
        due = [run for at_ms, run in self._waiting if at_ms <= now_ms]
        if not due:
            return
        self._waiting = [(at_ms, run) for at_ms, run in self._waiting if at_ms > now_ms]
        for run in due:
            run.activation.busy -= 1
            if not run.activation.dropped:
                self._state.schedule(run)
