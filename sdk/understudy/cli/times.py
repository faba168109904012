"""Durations and moments, as people write and read them."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from understudy.cli.errors import UsageError
from understudy_store.limits import DATE_MAX_S


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
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        try:
            ago_s = parse_seconds(text, option)
        except UsageError:
            raise UsageError(
                f"{option} {text!r} is neither a moment (2026-01-31T12:00) nor so long ago (90, "
                "10m, 2h, 7d)"
            ) from None
        assert ago_s is not None
        return now_ms() - round(ago_s * 1000)
    return round((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp() * 1000)


def duration(ms: int | float) -> str:
    """Format milliseconds: ``840 ms``, ``1.2 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if ms < 1000:
        return f"{max(0, ms):.0f} ms"
    if ms < 60_000:
        return f"{int(ms / 100) / 10:g} s"
    seconds = int(ms / 1000)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86_400
    if hours == 0:
        return f"{minutes} min {seconds % 60} s"
    if days == 0:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"


def moment(epoch_ms: int | None) -> str | None:
    """Format epoch milliseconds in UTC: ``2026-01-31 12:00:00``.

    Python has no dates after the year 9999; such a time is ``after 9999``.
    """
    if epoch_ms is None:
        return None
    if epoch_ms // 1000 > DATE_MAX_S:
        return "after 9999"
    return f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
