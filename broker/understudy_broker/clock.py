"""The broker's clock: epoch milliseconds that never go backwards.

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
