"""The table ``[retention]`` of the settings: how long what has ended is kept.

[retention]
default = "30d"
values = "7d"
idempotency = "90d"
archive = "file:///var/lib/understudy/archive.jsonl"
groups.shop = "60d"
functions."shop/checkout" = "90d"
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainValidator

from understudy_store.records import RetentionRules
from understudy_store.retention import duration_ms


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
        )

    @property
    def archive_path(self) -> str | None:
        """The path of the archive."""
        return None if self.archive is None else self.archive.removeprefix("file://")
