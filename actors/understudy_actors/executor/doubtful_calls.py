"""Calls that are held back in a replay, because their task may be a recorded one that was renamed.

See `understudy_actors.interpreter.strands.RecordedStrands` for the reason. A call is held back
until all recorded tasks have begun. If they have not after a while, the code has changed: the run
is parked before it makes any new call, and goes on once the code from before is back.

What is not perfect: a function that waits for something outside of ``ctx`` for longer than that,
before it starts a recorded task, is parked too, if another task of it makes its first call sooner
than it has in the first run.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Protocol

from understudy_actors.executor.event_loops import Event, EventLoop
from understudy_actors.interpreter.replay import ReplayState
from understudy_actors.interpreter.requests import CallSpec, Request, specs_in


class Patience(Protocol):
    """The loop, which knows for how long calls are held back."""

    @property
    def events(self) -> EventLoop: ...
    def call_after_hold(self, function: Callable[[], None]) -> None:
        """Call `function`, on the loop's thread, when nothing is to be held back any longer."""


class DoubtfulCalls:
    """The calls of one run that are held back.

    Parameters
    ----------
    replay
        The replay state of the run, at the start of its first task.
    patience
        The loop of the run.
    """

    def __init__(self, replay: ReplayState, patience: Patience) -> None:
        self._replay = replay
        self._patience = patience
        self._recorded = replay.recorded_strands()
        self._held: dict[Event, None] = {}

    def task_began(self, strand: str) -> None:
        """Note that a task has begun a strand; if it was the last, let go of what is held."""
        self._recorded.begun(strand)
        if self._recorded.all_begun:
            for event in self._held:
                event.set()

    def hold(self, asked: Request[Any]) -> Generator[Any, Any, None]:
        """Wait, on the loop, for as long as calls in a request are to be held back."""
        if self._recorded.all_begun or not any(map(self._is_doubtful, specs_in(asked))):
            return
        event = self._patience.events.event()
        self._held[event] = None
        self._patience.call_after_hold(event.set)
        try:
            yield from event.wait().__await__()
        finally:
            del self._held[event]

    def check(self, asked: Request[Any]) -> None:
        """Refuse a request with calls that are doubtful still.

        Raises
        ------
        NonDeterminismError
            See `ReplayState.check_renamed`.
        """
        if not self._recorded.all_begun:
            for spec in specs_in(asked):
                self._replay.check_renamed(self._recorded, spec)

    def _is_doubtful(self, spec: CallSpec) -> bool:
        return self._recorded.is_doubtful(spec.place or spec.id)
