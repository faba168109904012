"""Lines of logs that belong to a call, as the page of the call shows them. Pure.

A line is a JSON object as `understudy.logs` writes it. The run in which it was made is in its
fields. The lines in which a node tells of its own work have no run; they begin with the name and
the id of the call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from understudy.views.json_data import compact

#: characters of a line's text, and of its traceback, that a page shows
TEXT_CHARS_MAX: Final = 4_000
EXCEPTION_CHARS_MAX: Final = 16_000
#: further fields of a line that a page shows, and characters of each
FIELDS_MAX: Final = 20
FIELD_CHARS_MAX: Final = 300
#: fields that have a place of their own on the page
_PLACED: Final = frozenset(
    {
        "event",
        "level",
        "logger",
        "timestamp",
        "exception",
        "understudy.id",
        "understudy.origin",
        "understudy.function",
        "understudy.group",
        "understudy.attempt",
        "understudy.node",
    }
)
#: the logger with which a node tells of its own work
_OF_NODES: Final = "understudy"


class Entry(NamedTuple):
    """A line of a log.

    Attributes
    ----------
    at
        Its time, as written: ISO 8601 in UTC.
    id, function, node, attempt
        The run in which it was made; empty: it does not say.
    fields
        Name and value of whatever else it has.
    """

    at: str
    level: str
    text: str
    id: str = ""
    function: str = ""
    node: str = ""
    attempt: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    exception: str = ""

    @property
    def chars(self) -> int:
        """The size of the line on a page."""
        fields = sum(len(name) + len(value) for name, value in self.fields)
        return len(self.text) + len(self.exception) + fields


@dataclass(frozen=True, slots=True)
class Wanted:
    """The lines that are looked for.

    Attributes
    ----------
    id
        Of the call.
    is_root
        It begins a call graph, so every line whose origin it is belongs to it.
    only
        Ids of the call and of its steps, if nothing else below it is wanted; None: everything is.
    """

    id: str
    is_root: bool = False
    only: frozenset[str] | None = None

    @property
    def marks(self) -> tuple[bytes, ...]:
        """Texts of which each line that is wanted has one, to look for before it is parsed."""
        plain = json.dumps(self.id, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass")
        return tuple({json.dumps(self.id)[1:-1].encode(), plain})

    def entry(self, line: bytes) -> Entry | None:
        """Return a line, if it is wanted."""
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(found, dict):
            return None
        id_ = found.get("understudy.id")
        if id_ is None and found.get("logger") == _OF_NODES:
            id_ = _named_in(str(found.get("event", "")))
        if not isinstance(id_, str) or not self._has(id_, found.get("understudy.origin")):
            return None
        return _entry(found, id_)

    def _has(self, id_: str, origin: object) -> bool:
        if self.only is not None:
            return id_ in self.only
        if id_ == self.id or id_.startswith(f"{self.id}."):
            return True
        return self.is_root and origin == self.id


def _named_in(text: str) -> str:
    """Return the id in a line of a node.

    Examples
    --------
    >>> _named_in("checkout order-7 failed"), _named_in("price order-7.1: attempt 1 failed: …")
    ('order-7', 'order-7.1')
    """
    words = text.split(" ", 2)
    return words[1].removesuffix(":") if len(words) == 3 else ""


def _entry(found: Mapping[str, Any], id_: str) -> Entry:
    others = [name for name in found if name not in _PLACED][:FIELDS_MAX]
    return Entry(
        _text(found.get("timestamp"), 40),
        _text(found.get("level"), 20),
        _text(found.get("event"), TEXT_CHARS_MAX),
        id_,
        _text(found.get("understudy.function"), FIELD_CHARS_MAX),
        _text(found.get("understudy.node"), FIELD_CHARS_MAX),
        _text(found.get("understudy.attempt"), 20),
        tuple((_text(name, 100), _text(found[name], FIELD_CHARS_MAX)) for name in others),
        _text(found.get("exception"), EXCEPTION_CHARS_MAX, keep_end=True),
    )


def _text(value: object, chars: int, *, keep_end: bool = False) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else compact(value, None)
    if len(text) <= chars:
        return text
    # The end of a traceback says most.
    return f"…{text[-chars:]}" if keep_end else f"{text[:chars]}…"
