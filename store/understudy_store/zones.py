"""Time zones of this system: what the machine is given, because it reads no files itself."""

from __future__ import annotations

from datetime import UTC, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

#: names in the database of zones that mean another zone on each machine, or none
_NOT_ZONES: Final = frozenset({"Factory", "localtime", "posixrules"})
_NOT_PREFIXES: Final = ("posix/", "right/")


@lru_cache(maxsize=1024)
def system_zone(name: str) -> tzinfo | None:
    """Return the time zone of a name of the IANA database; None if there is none.

    The database is the system's, or that of the package ``tzdata`` where the system has none.

    Examples
    --------
    >>> system_zone("Europe/Vienna")
    zoneinfo.ZoneInfo(key='Europe/Vienna')
    >>> system_zone("Europe/Wien") is None
    True
    """
    if name == "UTC":
        return UTC
    if name in _NOT_ZONES or name.startswith(_NOT_PREFIXES):
        return None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return None
