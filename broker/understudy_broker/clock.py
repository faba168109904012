"""The broker's clock, epoch milliseconds that never go backwards, and what its peers know of it.

Wall time at the start, carried on by a clock that no one sets. It starts no earlier than the
greatest time that the store has seen, so that a restart never goes back either (semantics: `now`).
"""

from __future__ import annotations

import time
from collections.abc import Callable


def _elapsed_ns() -> int:
    """Nanoseconds since some moment, with those that the machine slept, where known."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic_ns() if boottime is None else time.clock_gettime_ns(boottime)


class Clock:
    """Call it for the time.

    Parameters
    ----------
    floor_ms
        The least time that it shows.
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
        """Epoch milliseconds."""
        now = (self._base_ns + self._elapsed_ns()) // 1_000_000
        if now > self._last_ms:
            self._last_ms = now
        return self._last_ms


class PeerClock:
    """The broker's clock as a peer knows it: deadlines that a peer asks for are counted by this.

    Told at each welcome, and carried on by a clock that no one sets; before the first welcome it
    begins with this machine's wall time. So a wall clock that is wrong, or is set while the peer
    runs, makes nothing expire early or late. Off by at most half the welcome's round trip.
    """

    def __init__(
        self,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        elapsed_ns: Callable[[], int] = _elapsed_ns,
    ) -> None:
        self._elapsed_ns = elapsed_ns
        self._base_ns = wall_ns() - elapsed_ns()

    def told(self, now_ms: int, round_trip_ms: int) -> None:
        """A welcome has come: the broker's time in it, and how long after the hello it came."""
        self._base_ns = now_ms * 1_000_000 + round_trip_ms * 500_000 - self._elapsed_ns()

    def __call__(self) -> int:
        """Epoch milliseconds."""
        return (self._base_ns + self._elapsed_ns()) // 1_000_000
