"""Durations and moments, as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

from understudy_store.limits import DATE_MAX_S


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


def clock_time(epoch_ms: int) -> str:
    """Format epoch milliseconds in local time: ``12:00:00``, with the date if it is another day's.

    Python has no dates after the year 9999; such a time is ``after 9999``.
    """
    if epoch_ms // 1000 > DATE_MAX_S:
        return "after 9999"
    local = datetime.fromtimestamp(epoch_ms / 1000).astimezone()
    is_today = local.date() == datetime.now(local.tzinfo).date()
    return f"{local:%H:%M:%S}" if is_today else f"{local:%Y-%m-%d %H:%M:%S}"
