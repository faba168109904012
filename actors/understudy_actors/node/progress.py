"""The progress of the functions of a node, gathered for the broker. Pure, but for a lock.

A function may say how far it is as often as it likes, on its own thread: that only replaces what it
has said before, and notes the run. A few times in a second the shell takes the latest of all runs
together (`ProgressReports.take`) and sends them. So what it costs to tell does not depend on how
often functions speak, and nobody ever waits.

A broker keeps it in memory, so it is told again after a reconnect, and when a suspended task is
resumed: its new version has none yet.

What is not perfect: if very many runs speak within one interval, those beyond `NEWS_MAX` are told
only when they speak again. Progress is for people who look, and is lost without harm.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from understudy_actors.activation import LEASED, Activation
from understudy_actors.interpreter.environment import RunView
from understudy_actors.interpreter.routine import Routine
from understudy_actors.node.state import NodeState
from understudy_broker.protocol.messages import ProgressEntry

#: runs whose progress is told at a time
NEWS_MAX: Final = 1024


class ProgressReports:
    """Gathers the progress of runs.

    Attributes
    ----------
    on_news
        Called, on any thread, when there is something to take after there was nothing.
    """

    def __init__(self, state: NodeState) -> None:
        self.on_news: Callable[[], None] = _ignore
        self._state = state
        self._lock = threading.Lock()
        #: runs that have said something, in the order in which they did
        self._news: dict[RunView, None] = {}
        #: steps that have ended, with their tasks
        self._ended: dict[str, str] = {}

    def note(self, run: RunView) -> None:
        """Note that a run has said how far it is; called on any thread."""
        with self._lock:
            is_first = not self._news and not self._ended
            if len(self._news) < NEWS_MAX:
                self._news[run] = None
        if is_first:
            self.on_news()

    def renew(self, activation: Activation) -> None:
        """Have the progress of a task told again, because its broker does not know it."""
        for run in activation.runs.values():
            if has_progress(run.routine):
                self.note(run.routine)

    def end(self, activation: Activation, routine: Routine) -> None:
        """Have the progress of a step taken back: it has ended, and its task goes on."""
        if not has_progress(routine):
            return
        with self._lock:
            is_first = not self._news and not self._ended
            if len(self._ended) < NEWS_MAX:
                self._ended[routine.id] = activation.id
        if is_first:
            self.on_news()

    def take(self) -> list[ProgressEntry]:
        """Return the latest progress of all runs that have spoken and go on here."""
        with self._lock:
            news, self._news = self._news, {}
            ended, self._ended = self._ended, {}
        activations, entries = self._state.activations, []
        for id, task_id in ended.items():
            activation = activations.get(task_id)
            if activation is not None and activation.phase in LEASED:
                entries.append(ProgressEntry(task_id, activation.version, id))
        for run in news:
            activation = activations.get(run.calls.frame.branch)
            if activation is None or activation.phase not in LEASED:
                continue
            current = activation.runs.get(run.id)
            signals = run.signals
            if current is None or current.routine is not run or signals is None:
                continue
            progress = signals.progress
            if progress is not None:
                entries.append(
                    ProgressEntry(
                        activation.id, activation.version, run.id, progress.fraction, progress.text
                    )
                )
        return entries


def has_progress(routine: Routine) -> bool:
    """Return whether a run has ever said how far it is."""
    return routine.signals is not None and routine.signals.progress is not None


def _ignore() -> None:
    """Do nothing: nobody takes the progress of a core without a shell."""
