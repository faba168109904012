"""Cron lines: when they are due, in whichever time zone. Pure: the zone is an argument.

`cronsim` reads the lines. Where clocks are set forward or back it follows Debian's cron, and so
does this module for lines that say seconds:

- A line that names its minutes and hours (``30 2 * * *``) is due at a time of the clock on the
  wall. If the clock is set forward over that time, it is due at the first moment after the gap; if
  the clock is set back and shows the time twice, it is due at the first of the two only.
- A line whose minutes or hours begin with a star (``*/15 * * * *``, ``0 * * * *``) is about
  intervals. It goes on through the hour that is there twice, and nothing of it is made up for that
  would have been in the hour that is left out.

A line that says seconds in several values and whose time is left out is due once for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zlib import crc32

from cronsim import CronSim, CronSimError

__all__ = ["CronSimError", "following", "offset", "preceding"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_SECOND_MS: Final = 1000


def following(cron: str, after: int, zone: tzinfo = UTC) -> int | None:
    """Return the first occurrence later than `after`, epoch milliseconds; None if there is none.

    Raises
    ------
    CronSimError
        If `cron` is not a cron line.
    """
    try:
        for at in _occurrences(cron, after, zone):
            # After a clock was set back, it begins with what the same clock has shown before.
            if at > after:
                return at
    except OverflowError:
        pass
    return None


def preceding(cron: str, until: int, zone: tzinfo = UTC) -> int | None:
    """Return the last occurrence no later than `until`; None if there is none."""
    # Backwards the reader leaves out what it would have moved out of a gap: that is found forwards.
    found: int | None = None
    try:
        for at in _occurrences(cron, until - until % _SECOND_MS + _SECOND_MS, zone, reverse=True):
            if at <= until:
                found = at
                break
    except OverflowError:
        return None
    while found is not None:
        later = following(cron, found, zone)
        if later is None or later > until:
            break
        found = later
    return found


def offset(key: str, at: int, until: int, most: int) -> int:
    """Return by how much an occurrence is put off, so that not everything is due at once.

    It is 0 to `most` milliseconds, and less than up to the next occurrence; it follows from `key`
    and the occurrence, so that it is the same each time.
    """
    room = min(most, until - at - _SECOND_MS)
    return crc32(f"{key}/{at}".encode()) % (room + 1) if room > 0 else 0


def _occurrences(cron: str, at: int, zone: tzinfo, *, reverse: bool = False) -> Iterator[int]:
    start = _EPOCH + at * _MS
    if zone is UTC:
        simulated = CronSim(cron, start, reverse)
    else:
        simulated = CronSim(cron, start.astimezone(zone), reverse)
        parts = cron.split()
        if len(parts) > 5 and not parts[1].startswith("*") and not parts[2].startswith("*"):
            # What `CronSim` itself does only for lines of five fields.
            simulated.fixup_tz = simulated.dt.tzinfo
            simulated.dt = simulated.dt.replace(tzinfo=None)
    for found in simulated:
        yield (found.astimezone(UTC) - _EPOCH) // _MS
