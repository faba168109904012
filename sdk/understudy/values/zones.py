"""Time zones: the text by which each kind travels.

================== ===============================================================================
text               zone
================== ===============================================================================
(empty)            none, UTC, or a `datetime.timezone` without a name of its own
``Europe/Berlin``  `zoneinfo.ZoneInfo`
``fixed:CET``      a `datetime.timezone` with this name
``pytz:KEY``       a zone of pytz; its ``FixedOffset`` has the minutes as key
``dateutil:KEY``   a zone of ``dateutil.tz``: a file's key, ``UTC``, or seconds and name of a
                   ``tzoffset``
``pydantic:``      the fixed offset that pydantic gives to a time which it reads from text
================== ===============================================================================

The offset is in the text of the time itself. Any other zone is pickled, or refused where it is
sent: a fixed offset instead of it would change what ``+ timedelta(days=1)`` means.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, TypeVar

Moment = TypeVar("Moment", dt.datetime, dt.time)


class ZoneError(Exception):
    """A time's zone cannot be kept, or is not known here; the message says why."""


def zone_text(value: dt.datetime | dt.time) -> str:
    """Return the text for the zone of `value`; raises `ZoneError` if there is none."""
    zone = value.tzinfo
    if zone is None or zone is dt.UTC:
        return ""
    if value.utcoffset() is None and not _is_zone_info(zone):
        raise ZoneError("its zone has no fixed offset. Pass a datetime")
    text = _text(zone)
    if text is None:
        kind = type(zone)
        raise ZoneError(
            f"its zone, a {kind.__module__}.{kind.__qualname__}, cannot be kept. Use a "
            "zoneinfo.ZoneInfo with a key, or a datetime.timezone"
        )
    if text.startswith(("pytz:", "dateutil:")) and not _is_same(value, text):
        raise ZoneError(
            "its zone does not come back as it is. With pytz, use zone.localize(...) instead of "
            "tzinfo=zone; better, use zoneinfo.ZoneInfo"
        )
    return text


def with_zone(value: Moment, text: str) -> Moment:
    """Return `value`, whose zone is a fixed offset, with the zone of `text`.

    Raises
    ------
    ZoneError
        This process does not know the zone.
    """
    library, colon, key = text.partition(":")
    if not text:
        return value
    try:
        if not colon:
            import zoneinfo

            return value.replace(tzinfo=zoneinfo.ZoneInfo(text))
        if library == "fixed":
            offset = value.utcoffset()
            return value.replace(tzinfo=dt.timezone(offset or dt.timedelta(), key))
        if library == "pytz":
            return _with_pytz(value, key)
        if library == "dateutil":
            return value.replace(tzinfo=_dateutil_zone(key))
        if library == "pydantic":
            return _with_pydantic(value)
    except Exception as error:
        raise ZoneError(
            f"time zone {text!r} is not known here ({error}). Install the package "
            f"{library if colon else 'tzdata'}"
        ) from error
    raise ZoneError(f"time zone {text!r} is of a kind that this version does not know")


def _is_zone_info(zone: dt.tzinfo) -> bool:
    kind = type(zone)
    return kind.__module__.startswith("zoneinfo") and kind.__qualname__ == "ZoneInfo"


def _text(zone: Any) -> str | None:
    kind = type(zone)
    library = kind.__module__.partition(".")[0]
    if kind is dt.timezone:
        offset = zone.utcoffset(None)
        name = zone.tzname(None)
        return "" if name == dt.timezone(offset).tzname(None) else f"fixed:{name}"
    if _is_zone_info(zone):
        return zone.key if zone.key is not None else None
    if library == "pytz":
        if kind.__qualname__ == "_FixedOffset":
            return f"pytz:{zone.utcoffset(None) // dt.timedelta(minutes=1)}"
        key = getattr(zone, "zone", None)
        return None if key is None else f"pytz:{key}"
    if library == "dateutil":
        return _dateutil_text(zone)
    if library == "pydantic_core" and kind.__qualname__ == "TzInfo":
        return "pydantic:"
    return None


def _is_same(value: Any, text: str) -> bool:
    plain: Any = value.replace(tzinfo=dt.timezone(value.utcoffset() or dt.timedelta()))
    try:
        back = with_zone(plain, text)
    except ZoneError:
        return False
    return _shown(back) == _shown(value) and type(back.tzinfo) is type(value.tzinfo)


def _shown(value: Any) -> tuple[Any, ...]:
    naive = value.replace(tzinfo=None)
    zone = value.tzinfo
    return naive, naive.fold, value.utcoffset(), value.tzname(), value.dst(), repr(zone)


def _with_pytz(value: Moment, key: str) -> Moment:
    import pytz

    if key.lstrip("-").isdigit():
        return value.replace(tzinfo=pytz.FixedOffset(int(key)))
    zone = pytz.timezone(key)
    if isinstance(value, dt.datetime):
        # A zone of pytz is another object for each of its offsets.
        return value.astimezone(zone).replace(fold=value.fold)
    return value.replace(tzinfo=zone)


def _with_pydantic(value: Moment) -> Moment:
    from pydantic_core import TzInfo

    offset = value.utcoffset() or dt.timedelta()
    return value.replace(tzinfo=TzInfo(round(offset.total_seconds())))


def _dateutil_text(zone: Any) -> str | None:
    from dateutil import tz

    if isinstance(zone, tz.tzutc):
        return "dateutil:UTC"
    if isinstance(zone, tz.tzoffset):
        offset = zone.utcoffset(None) or dt.timedelta()
        seconds = round(offset.total_seconds())
        return f"dateutil:{seconds}:{zone.tzname(None) or ''}"
    if not isinstance(zone, tz.tzfile):
        return None
    file = str(getattr(zone, "_filename", None) or "")
    key = getattr(zone, "_key", None) or file.rpartition("zoneinfo/")[2]
    return f"dateutil:{key}" if key and tz.gettz(key) == zone else None


def _dateutil_zone(key: str) -> dt.tzinfo:
    from dateutil import tz

    seconds, colon, name = key.partition(":")
    if colon:
        offset: dt.tzinfo = tz.tzoffset(name or None, int(seconds))
        return offset
    zone: dt.tzinfo | None = tz.UTC if key == "UTC" else tz.gettz(key)
    if zone is None:
        raise LookupError(key)
    return zone
