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


def given_seconds(text: str) -> float | None:
    """Convert ``"90"``, ``"1.5s"``, ``"500ms"``, ``"10m"``, ``"2h"`` or ``"7d"`` to seconds.

    Returns
    -------
    None, if it is no time.
    """
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    number = text.rstrip("smhd")
    try:
        value = float(number) * units[text[len(number) :] or "s"]
    except (ValueError, KeyError):
        return None
    return value if 0 <= value < float("inf") else None


def given_moment(text: str, now_ms: int) -> int | None:
    """Convert a moment (``2026-01-31T12:00``), or how long ago it was, to epoch milliseconds.

    Returns
    -------
    None, if it is neither.
    """
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        ago_s = given_seconds(text)
        return None if ago_s is None else now_ms - round(ago_s * 1000)
    try:
        return round((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp() * 1000)
    except OverflowError:
        return None
