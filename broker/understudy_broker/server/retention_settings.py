"""The table ``[retention]`` of the settings: how long what has ended is kept.

[retention]
default = "30d"
values = "7d"
idempotency = "90d"
archive = "file:///var/lib/understudy/archive.jsonl"
groups.shop = "60d"
functions."shop/checkout" = "90d"
max_rows = 5_000_000
max_bytes = "20GiB"
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, PlainValidator

from understudy_broker.keys.quota import size_of
from understudy_store.limits import MIB
from understudy_store.records import RetentionRules
from understudy_store.retention import duration_ms

#: An empty file has some 200 KiB; with less than this, nothing would be kept.
BYTES_MIN: Final = MIB
_MOST: Final = 2**53


def _duration(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a duration is a text, as 30d or never")
    duration_ms(value)
    return value


def _archive(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.startswith("file:///"):
        raise ValueError("an archive is a file, as file:///var/lib/understudy/archive.jsonl")
    return value


def _rows(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < _MOST:
        raise ValueError(f"max_rows is a number of promises, at least 1, not {value!r}")
    return value


def _bytes(value: object) -> int | None:
    if value is None:
        return None
    size = size_of(value) if isinstance(value, str) else value
    if isinstance(size, bool) or not isinstance(size, int) or not BYTES_MIN <= size < _MOST:
        raise ValueError(
            f'max_bytes is bytes, as a number or as "20GiB", at least 1 MiB, not {value!r}'
        )
    return size


Duration = Annotated[str, PlainValidator(_duration)]


class RetentionSettings(BaseModel):
    """The times for which things are kept after the end of a call: ``30d``, or ``never``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: the whole call graph
    default: Duration = "30d"
    #: the same by group, and by function: ``checkout``, or ``shop/checkout``
    groups: dict[str, Duration] = {}
    functions: dict[str, Duration] = {}
    #: payloads and steps; never: as long as the call graph
    values: Duration = "never"
    #: the id, which nobody can use again meanwhile
    idempotency: Duration = "90d"
    #: promises of a broker, at most: beyond, the oldest call graphs go that have ended
    max_rows: Annotated[int | None, PlainValidator(_rows)] = None
    #: the same in bytes of its SQLite file that are in use
    max_bytes: Annotated[int | None, PlainValidator(_bytes)] = None
    #: where what is deleted is written before; None: nowhere
    archive: Annotated[str | None, PlainValidator(_archive)] = None

    def rules(self) -> RetentionRules:
        """Return the rules, in milliseconds."""
        return RetentionRules(
            duration_ms(self.default),
            {name: duration_ms(text) for name, text in self.groups.items()},
            {name: duration_ms(text) for name, text in self.functions.items()},
            duration_ms(self.values),
            duration_ms(self.idempotency),
            self.max_rows,
            self.max_bytes,
        )

    @property
    def archive_path(self) -> str | None:
        """The path of the archive."""
        return None if self.archive is None else self.archive.removeprefix("file://")
