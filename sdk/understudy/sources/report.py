"""The figures of a source: counters, and the lines of its log."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from understudy.printable import printable_line

#: seconds between two lines of progress
PROGRESS_S = 10.0
#: Poison messages that are logged one by one between two lines of progress; the rest is counted.
_POISON_LINES_MAX = 5


class Figures(msgspec.Struct, frozen=True):
    """The counters of a source, as ``--json`` prints them.

    Attributes
    ----------
    stored
        Messages that became new calls.
    known
        Messages whose call existed already.
    poison
        Messages that became no call.
    acknowledged
        Messages that were acknowledged.
    under_way
        Messages that are not acknowledged yet.
    lag
        Messages that wait in the queue; None: unknown.
    per_s
        New calls a second since the last line.
    """

    stored: int
    known: int
    poison: int
    acknowledged: int
    under_way: int
    lag: int | None
    per_s: float

    def text(self) -> str:
        """Return the figures as a line for people."""
        lag = "unknown" if self.lag is None else f"{self.lag:,}"
        return (
            f"{self.stored:,} stored ({self.per_s:,.0f}/s), {self.known:,} known, "
            f"{self.poison:,} poison, {self.under_way:,} under way, lag {lag}"
        )


class Report:
    """Counts, and says something now and then.

    Parameters
    ----------
    say
        Logs a line.
    warn
        Logs a warning.
    show
        Shows the figures, every `PROGRESS_S` if they have changed.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        warn: Callable[[str], None],
        show: Callable[[Figures], None],
    ) -> None:
        self.say = say
        self.warn = warn
        self._show = show
        self.stored = 0
        self.known = 0
        self.poison = 0
        self.acknowledged = 0
        self._poison_lines = 0
        self._shown_at: float | None = None
        self._shown_stored = 0
        self._last: tuple[int, ...] = (0,)

    def poisoned(self, text: str) -> None:
        """Count a poison message; log it unless there were many."""
        self.poison += 1
        self._poison_lines += 1
        if self._poison_lines <= _POISON_LINES_MAX:
            self.warn(printable_line(text))
        elif self._poison_lines == _POISON_LINES_MAX + 1:
            self.warn("more messages become no call; they are counted, and their promises tell why")

    def is_due(self, now_s: float) -> bool:
        """Return whether it is time to show the figures."""
        if self._shown_at is None:
            self._shown_at = now_s
        return now_s >= self._shown_at + PROGRESS_S

    def show(self, under_way: int, lag: int | None, now_s: float) -> None:
        """Show the figures, unless nothing has happened and nothing waits."""
        figures = self.figures(under_way, lag, now_s)
        seen = (figures.stored, figures.known, figures.poison, under_way, lag or 0)
        if seen != self._last or under_way or lag:
            self._show(figures)
        self._last = seen
        self._shown_at, self._shown_stored = now_s, self.stored
        self._poison_lines = 0

    def figures(self, under_way: int, lag: int | None, now_s: float) -> Figures:
        """Return the figures of now."""
        since_s = 0.0 if self._shown_at is None else now_s - self._shown_at
        per_s = (self.stored - self._shown_stored) / since_s if since_s > 0 else 0.0
        return Figures(
            self.stored,
            self.known,
            self.poison,
            self.acknowledged,
            under_way,
            lag,
            round(per_s, 1),
        )
