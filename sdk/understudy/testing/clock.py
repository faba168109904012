"""The clock of a stage: it stands still until a caller waits or a test moves it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from understudy.options import seconds


class Clock:
    """The clock of a stage, as ``stage.clock``. Tests do not make one themselves.

    Time stands still while functions run. When a caller waits for a result, and all that is left
    waits for time, the clock jumps to the next moment at which something is due: a sleep, a
    deadline, a retry, a schedule. So days pass at once, and in the right order. ``ctx.time`` shows
    the same time.

    Parameters
    ----------
    now_ms
        Returns the time of the simulation, in epoch milliseconds.
    advance_to
        Lets the simulation go on until a time, in epoch milliseconds.

    Attributes
    ----------
    skips : bool
        Whether the clock jumps when a caller waits for a result. If False, only `advance` moves it.

    Examples
    --------
    >>> from understudy.testing import Stage
    >>> with Stage() as stage:
    ...     stage.clock.advance(90)
    ...     print(stage.clock)
    <Clock 2030-01-01 00:01:30.000000 UTC>
    """

    def __init__(self, now_ms: Callable[[], int], advance_to: Callable[[int], None]) -> None:
        self._now_ms = now_ms
        self._advance_to = advance_to
        self.skips = True

    @property
    def time(self) -> float:
        """The time in epoch seconds, as in ``ctx.time``.

        Examples
        --------
        >>> from understudy.testing import Stage
        >>> with Stage() as stage:
        ...     stage.clock.time
        1893456000.0
        """
        return self._now_ms() / 1000

    @property
    def now(self) -> datetime:
        """The time as a datetime in UTC.

        Examples
        --------
        >>> from understudy.testing import Stage
        >>> with Stage() as stage:
        ...     stage.clock.now
        datetime.datetime(2030, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)
        """
        return datetime.fromtimestamp(self.time, UTC)

    def advance(self, duration: float | timedelta) -> None:
        """Let time pass. Everything that comes due meanwhile happens in order, at its own time.

        Parameters
        ----------
        duration
            Seconds, or a timedelta; 0 or more.

        Raises
        ------
        ConfigurationError
            `duration` is negative or no number.
        StuckError
            The stage is closed.

        Examples
        --------
        >>> from datetime import timedelta
        >>> from understudy.testing import Stage
        >>> with Stage() as stage:
        ...     stage.clock.advance(timedelta(days=2))
        ...     stage.clock.now.day
        3
        """
        by_ms = int(seconds("duration", duration, zero=True) * 1000)
        self._advance_to(self._now_ms() + by_ms)

    def __repr__(self) -> str:
        return f"<Clock {self.now:%Y-%m-%d %H:%M:%S.%f} UTC>"
