"""The broker's clock (`Clock`) and a peer's copy of it (`PeerClock`), in epoch milliseconds.

Both take the wall time once and add the time that has elapsed since, measured by a clock that
nobody can set. So setting a machine's wall clock changes no deadline.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial


def _elapsed_clock() -> Callable[[], int]:
    """Return a clock of the nanoseconds since some fixed moment.

    They include the time for which the machine was suspended, where the system counts it.
    """
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns if boottime is None else partial(time.clock_gettime_ns, boottime)


_elapsed_ns = _elapsed_clock()


class Clock:
    """The broker's clock. It never goes back; call it to read it.

    Parameters
    ----------
    floor_ms
        The earliest time that it shows. The broker passes the latest time that the store has seen,
        so the clock does not go back at a restart either.
    wall_ns, elapsed_ns
        The wall clock and the elapsed time, in nanoseconds; tests replace them.
    """

    def __init__(
        self,
        floor_ms: int = 0,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        elapsed_ns: Callable[[], int] = _elapsed_ns,
    ) -> None:
        self._elapsed_ns = elapsed_ns
        self._base_ns = max(wall_ns(), floor_ms * 1_000_000) - elapsed_ns()
        self._last_ms = floor_ms

    def __call__(self) -> int:
        """Return the time in epoch milliseconds."""
        now = (self._base_ns + self._elapsed_ns()) // 1_000_000
        if now > self._last_ms:
            self._last_ms = now
        return self._last_ms


class PeerClock:
    """A peer's copy of the broker's clock; the deadlines that a peer asks for are based on it.

    It is synchronized at each welcome, and wrong by at most half of the welcome's round trip.
    Before the first welcome it shows this machine's wall time. So a wall clock that is wrong, or is
    set while the peer runs, makes nothing expire early or late.

    Parameters
    ----------
    wall_ns, elapsed_ns
        The wall clock and the elapsed time, in nanoseconds; tests replace them.
    """

    def __init__(
        self,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        elapsed_ns: Callable[[], int] = _elapsed_ns,
    ) -> None:
        self._elapsed_ns = elapsed_ns
        self._base_ns = wall_ns() - elapsed_ns()

    def synchronize(self, now_ms: int, round_trip_ms: int) -> None:
        """Set the clock by a welcome.

        Parameters
        ----------
        now_ms
            The broker's time, as the welcome says it.
        round_trip_ms
            The time between sending the hello and receiving the welcome.
        """
        self._base_ns = now_ms * 1_000_000 + round_trip_ms * 500_000 - self._elapsed_ns()

    def __call__(self) -> int:
        """Return the time in epoch milliseconds."""
        return (self._base_ns + self._elapsed_ns()) // 1_000_000
