"""Throttle: whether a link may send the requests that the broker had too much of. Pure."""

from __future__ import annotations


class Throttle:
    """Holds requests back after a refusal with 429.

    They go out again with the next sign of the broker, or, if it has said for how long this peer is
    to wait, after that time.

    Attributes
    ----------
    until
        When they go out again, by the clock of the link; None: with the next sign.
    """

    def __init__(self) -> None:
        self._is_on = False
        self.until: int | None = None

    def refused(self, retry_after_ms: int | None, now: int) -> bool:
        """Note a refusal; return True if a wait begins that the broker has asked for."""
        self._is_on = True
        if retry_after_ms is None:
            return False
        begins = self.until is None
        self.until = max(self.until or 0, now + retry_after_ms)
        return begins

    def heard(self) -> None:
        """Note a sign of the broker: it has answered something."""
        self._is_on = False

    def end(self) -> None:
        """Note a new connection."""
        self._is_on, self.until = False, None

    def holds(self, now: int) -> bool:
        """Return whether to hold requests back."""
        if self.until is None:
            return self._is_on
        if now < self.until:
            return True
        self.end()
        return False
