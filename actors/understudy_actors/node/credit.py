"""How much work a node asks for: as much as keeps it busy while a frame travels, and no more."""

from __future__ import annotations

from typing import Final

#: weight of the newest batch in the running mean of service time
_WEIGHT: Final = 0.2
#: a single run longer than this is a long one, whatever the mean says
_FLOOR_MS: Final = 0.005


class CreditPolicy:
    """Turns measured service time into credit. Pure."""

    __slots__ = ("_ahead_max", "_ahead_ms", "_mean_ms", "_slots")

    def __init__(self, slots: int, ahead_ms: float, ahead_max: int) -> None:
        self._slots = slots
        self._ahead_ms = ahead_ms
        self._ahead_max = ahead_max
        self._mean_ms: float | None = None

    def observe(self, count: int, busy_ms: float) -> None:
        """`count` steps took `busy_ms` in all."""
        if count <= 0:
            return
        mean = max(busy_ms / count, _FLOOR_MS)
        if self._mean_ms is None:
            self._mean_ms = mean
        else:
            self._mean_ms += (mean - self._mean_ms) * _WEIGHT

    def observe_stuck(self, waited_ms: float) -> None:
        """Queued work has not moved for that long: what runs is at least that slow."""
        if self._mean_ms is None or waited_ms > self._mean_ms:
            self._mean_ms = waited_ms

    @property
    def target(self) -> int:
        """Tasks to have in hand, running ones included."""
        if self._mean_ms is None:
            return self._slots
        return self._slots + min(self._ahead_max, int(self._ahead_ms / self._mean_ms))
