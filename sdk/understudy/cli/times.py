"""Durations and moments, as people write and read them."""

from __future__ import annotations

import time

from understudy.cli.errors import UsageError
from understudy.views.times import duration, given_moment, given_seconds, moment

__all__ = ["duration", "moment", "now_ms", "parse_moment", "parse_seconds"]


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
    value = given_seconds(text)
    if value is None:
        raise UsageError(
            f"{option} {text!r} is not a time: write seconds (90), or a number with a unit "
            "(500ms, 10m, 2h, 7d)"
        )
    return value


def parse_moment(text: str | None, option: str) -> int | None:
    """Convert a moment, or how long ago it was, to epoch milliseconds.

    ``10m`` is ten minutes ago; ``2026-01-31``, ``2026-01-31T12:00`` and ``2026-01-31T12:00+01:00``
    are moments, in UTC unless they say otherwise.

    Parameters
    ----------
    text
        None if the option was not given; then the result is None.
    option
        The option's name, for messages.
    """
    if text is None:
        return None
    value = given_moment(text, now_ms())
    if value is None:
        raise UsageError(
            f"{option} {text!r} is neither a moment (2026-01-31T12:00) nor so long ago (90, 10m, "
            "2h, 7d)"
        )
    return value
