"""Durations and moments, as people write and read them."""

from __future__ import annotations

import time

from understudy.cli.errors import UsageError
from understudy.views.times import duration, moment

__all__ = ["duration", "moment", "now_ms", "parse_seconds"]


def now_ms() -> int:
    """Return the wall clock in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def parse_seconds(text: str | None, option: str) -> float | None:
    """Convert ``"90"``, ``"1.5s"``, ``"500ms"``, ``"10m"``, ``"2h"`` or ``"7d"`` to seconds.

    Parameters
    ----------
    text
        None if the option was not given; then the result is None.
    option
        The option's name, for messages.
    """
    if text is None:
        return None
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    number = text.rstrip("smhd")
    try:
        value = float(number) * units[text[len(number) :] or "s"]
    except (ValueError, KeyError):
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UsageError(
            f"{option} {text!r} is not a time: write seconds (90), or a number with a unit "
            "(500ms, 10m, 2h, 7d)"
        )
    return value
