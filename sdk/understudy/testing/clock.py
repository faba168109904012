"""The clock of a stage: it stands still until a caller waits, or moves it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from understudy.options import seconds


class Clock:
    """The time on a stage, as ``stage.clock``.

    It stands still while functions run. When a caller waits for a result and everything else waits
    only for time, it jumps to the next moment at which something is due (a sleep, a deadline, a
    retry, a schedule): so days pass at once, and in order. ``ctx.time`` shows the same time.

    Attributes
    ----------
    skips : bool
        Whether waiting for a result moves time. If False, only `advance` does.

    Examples
    --------
    >>> runtime = Runtime("shop")
    >>> @runtime.register
    ... def remind(ctx):
    ...     yield ctx.sleep(24 * 3600)
    ...     return "a day later"
    >>> with Stage(runtime) as stage:
    ...     runtime.rpc("remind-1", remind).result(), f"{stage.clock.now:%d %B %Y}"
    ('a day later', '02 January 2030')
    """

    def __init__(self, now_ms: Callable[[], int], advance_to: Callable[[int], None]) -> None:
        self._now_ms = now_ms
        self._advance_to = advance_to
        self.skips = True

    @property
    def time(self) -> float:
        """The time in seconds since the epoch, as ``ctx.time``."""
        return self._now_ms() / 1000

    @property
    def now(self) -> datetime:
        """The time as a date, in UTC."""
        return datetime.fromtimestamp(self.time, UTC)

    def advance(self, duration: float | timedelta) -> None:
        """Let time pass. Everything that comes due meanwhile happens at its time, in order.

        Parameters
        ----------
        duration : float or timedelta
            How far to move the clock, in seconds.

        Raises
        ------
        ConfigurationError
            `duration` is not a number of seconds, 0 or more.

        Examples
        --------
        >>> runtime = Runtime("shop")
        >>> @runtime.register
        ... def expire(ctx):
        ...     yield ctx.sleep(60)
        ...     return "expired"
        >>> with Stage(runtime) as stage:
        ...     handle = runtime.rpc("expire-1", expire)
        ...     stage.clock.advance(59)
        ...     print(handle.done())
        ...     stage.clock.advance(1)
        ...     print(handle.done())
        False
        True
        """
        by_ms = int(seconds("duration", duration, zero=True) * 1000)
        self._advance_to(self._now_ms() + by_ms)

    def __repr__(self) -> str:
        return f"<Clock {self.now:%Y-%m-%d %H:%M:%S.%f} UTC>"
