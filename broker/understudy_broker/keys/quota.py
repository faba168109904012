"""Quotas: the field `limits` of a role in ``rights.toml``. Pure.

    [role.team-a]
    limits = { commands = 2000, pending = 200_000, stored = "2GiB", retention = "30d" }

What is left out is not limited. Of several roles of one identity, the greatest limit that any of
them has counts.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, Final, NamedTuple

from understudy_broker.keys.errors import RightsError
from understudy_store.retention import duration_ms

_UNITS: Final = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE: Final = re.compile(r"(\d{1,15}) ?(B|KiB|MiB|GiB|TiB)?", re.ASCII)
_MOST: Final = 2**53


class Quota(NamedTuple):
    """The limits of one identity; None: there is none.

    Attributes
    ----------
    commands, bytes
        What it may send in each second, over all of its connections.
    burst
        Commands that it may send at once after a pause; by default those of one second.
    pending, stored
        Its pending promises, and the bytes of their arguments.
    schedules, watches, connections
        How many it may have at a time.
    retention
        How long its call graphs are kept after their ends, milliseconds.
    """

    commands: int | None = None
    burst: int | None = None
    bytes: int | None = None
    pending: int | None = None
    stored: int | None = None
    schedules: int | None = None
    watches: int | None = None
    connections: int | None = None
    retention: int | None = None

    def __or__(self, other: Quota) -> Quota:
        pairs = zip(self, other, strict=True)
        return Quota(*(max((x for x in pair if x is not None), default=None) for pair in pairs))


NO_QUOTA: Final = Quota()
LIMITS: Final = Quota._fields
_SIZES: Final = frozenset({"bytes", "stored"})


def parse_quota(role: str, table: Any) -> Quota:
    """Read the field `limits` of a role.

    Raises
    ------
    RightsError
        Something in it is unknown or wrong.

    Examples
    --------
    >>> parse_quota("team-a", {"commands": 2000, "bytes": "16MiB"})[:3]
    (2000, None, 16777216)
    """
    if not isinstance(table, dict):
        raise RightsError(f"role {role!r}: limits: write a table, as {{ commands = 2000 }}")
    found: dict[str, int] = {}
    for name, value in table.items():
        if name not in LIMITS:
            raise RightsError(
                f"role {role!r}: limits: {name} is no limit; there are {', '.join(LIMITS)}"
            )
        found[name] = (_duration if name == "retention" else _number)(role, name, value)
    if "burst" in found and "commands" not in found:
        raise RightsError(f"role {role!r}: limits: burst has no meaning without commands")
    return Quota(**found)


def size_of(text: str) -> int | None:
    """Return the bytes of a size as people write it; None: it is none.

    Examples
    --------
    >>> size_of("2GiB"), size_of("16 MiB"), size_of("100"), size_of("2GB")
    (2147483648, 16777216, 100, None)
    """
    match = _SIZE.fullmatch(text)
    return None if match is None else int(match[1]) * _UNITS[match[2] or ""]


def _duration(role: str, name: str, value: Any) -> int:
    with suppress(ValueError):
        ms = duration_ms(value) if isinstance(value, str) else None
        if ms:
            return ms
    raise RightsError(
        f'role {role!r}: limits: {name} is a time longer than zero, as "30d", not {value!r}'
    )


def _number(role: str, name: str, value: Any) -> int:
    if name in _SIZES and isinstance(value, str) and (size := size_of(value)) is not None:
        value = size
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
        what = 'bytes, as a number or as "2GiB"' if name in _SIZES else "a whole number, at least 1"
        raise RightsError(f"role {role!r}: limits: {name} is {what}, not {value!r}")
    return value
