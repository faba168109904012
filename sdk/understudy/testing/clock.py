"""The clock of a stage: it stands still until somebody waits, or moves it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from understudy.options import seconds


class Clock:
    """Time on a stage. Made by `Stage`, as ``stage.clock``.

    It stands still while functions run. When somebody waits for a result and everything else waits
    only for time, it jumps to the next moment at which something is due (a sleep, a deadline, a
    retry, a schedule): so days pass at once, and in order. ``ctx.time`` shows the same time.
    """

    def __init__(self, now_ms: Callable[[], int], advance_to: Callable[[int], None]) -> None:
        self._now_ms = now_ms
        self._advance_to = advance_to
        #: whether waiting for a result moves time; if not, only `advance` does
        self.skips = True

    @property
    def time(self) -> float:
        """Epoch seconds, as ``ctx.time``."""
        return self._now_ms() / 1000

    @property
    def now(self) -> datetime:
        """The same as a date, in UTC."""
        return datetime.fromtimestamp(self.time, UTC)

    def advance(self, duration: float | timedelta) -> None:
        """Let so many seconds pass; all that comes due meanwhile happens, in order, at its time."""
        by_ms = int(seconds("duration", duration, zero=True) * 1000)
        self._advance_to(self._now_ms() + by_ms)

    def __repr__(self) -> str:
        return f"<Clock {self.now:%Y-%m-%d %H:%M:%S.%f} UTC>"
