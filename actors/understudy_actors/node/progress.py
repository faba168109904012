"""The progress of the functions of a node, gathered for the broker. Pure.

A function may say how far it is as often as it likes, on its own thread: that only replaces what it
has said before, and notes the run. A few times in a second the shell takes the latest of all runs
together (`ProgressReports.take`) and sends them. So what it costs to tell does not depend on how
often functions speak, and nobody ever waits.

A broker keeps it in memory, so it is told again after a reconnect, and when a suspended task is
resumed: its new version has none yet.

Why no news is lost, although functions speak without a lock: a run is added before `_is_told` is
read, and `take` clears that before it takes runs out. So a run is either found by the `take` that
is about to happen, or causes one. Runs are taken out one by one, because `dict.popitem` is atomic.

What is not perfect: if very many runs speak within one interval, those beyond `NEWS_MAX` are told
only when they speak again. Progress is for people who look, and is lost without harm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from understudy_actors.activation import LEASED, Activation
from understudy_actors.interpreter.environment import RunView
from understudy_actors.interpreter.routine import Routine
from understudy_actors.interpreter.signals import Progress, Signals
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
        #: runs that have said something
        self._news: dict[RunView, None] = {}
        #: steps that have ended, with their tasks
        self._ended: dict[str, str] = {}
        #: `on_news` has been called since the last `take`
        self._is_told = False

    def note(self, run: RunView) -> None:
        """Note that a run has said how far it is; called on any thread."""
        if len(self._news) < NEWS_MAX:
            self._news[run] = None
        self._tell()

    def tell_of(self, routine: Routine, text: str) -> None:
        """Say something of a run that has not begun: why it is tried again, for those who look."""
        routine.signals = Signals()
        routine.signals.progress = Progress(None, text)
        self.note(routine)

    def renew(self, activation: Activation) -> None:
        """Have the progress of a task told again, because its broker does not know it."""
        for run in activation.runs.values():
            if has_progress(run.routine):
                self.note(run.routine)

    def end(self, activation: Activation, routine: Routine) -> None:
        """Have the progress of a step taken back: it has ended, and its task goes on."""
        if has_progress(routine) and len(self._ended) < NEWS_MAX:
            self._ended[routine.id] = activation.id
            self._tell()

    def _tell(self) -> None:
        if not self._is_told:
            self._is_told = True
            self.on_news()

    def take(self) -> list[ProgressEntry]:
        """Return the latest progress of all runs that have spoken and go on here."""
        self._is_told = False
        news: list[RunView] = []
        while self._news and len(news) < NEWS_MAX:
            news.append(self._news.popitem()[0])
        ended, self._ended = self._ended, {}
        activations, entries = self._state.activations, []
        for id, task_id in ended.items():
            activation = activations.get(task_id)
            if activation is not None and activation.phase in LEASED:
                entries.append(ProgressEntry(task_id, activation.version, id))
        for run in reversed(news):
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
