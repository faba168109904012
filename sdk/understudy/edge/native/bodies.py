"""JSON in bodies: read within bounds, and written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from understudy.edge.native.problems import Problem

#: Levels of lists and objects in a body; a value may have as many when it is stored.
DEPTH_MAX: Final = 64
#: An integer of more bits is shown as text: its decimal digits would take too long.
INTEGER_BITS_MAX: Final = 8192

#: stands for a body that is empty
NOTHING: Final = msgspec.UNSET

_JSON: Final = "application/json"
_CONTAINERS: Final = frozenset({dict, list})


def parse(body: bytes, media_type: str | None) -> Any:
    """Return the value of a body; `NOTHING` if it is empty.

    Parameters
    ----------
    media_type
        The content type, with its parameters; None if there is none.

    Raises
    ------
    Problem
        415 the body is of another type, 400 it is no JSON, too deep, or has a number beyond what a
        float holds.
    """
    if not body:
        return NOTHING
    if not _is_json(media_type):
        raise Problem(
            415,
            f"the content type is {(media_type or 'missing')[:200]}: send JSON, with the header "
            "content-type: application/json",
            {"accept-post": _JSON},
        )
    try:
        value = msgspec.json.decode(body)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, f"the body is no JSON: {error}") from None
    _check_depth(value)
    return value


def _is_json(media_type: str | None) -> bool:
    kind, _, parameters = (media_type or "").partition(";")
    kind = kind.strip().lower()
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    is_utf_8 = not parameters.strip().lower().startswith("charset=") or charset in ("utf-8", "utf8")
    return is_utf_8 and (
        kind == _JSON or (kind.startswith("application/") and kind.endswith("+json"))
    )


def _check_depth(value: Any) -> None:
    """Raise if containers are nested too deep. It goes level by level, without recursion."""
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [item for each in level for item in _items(each)]
        if not level:
            return
    raise _too_deep()


def _items(value: Any) -> Iterable[Any]:
    kind = type(value)
    if kind is not dict and kind is not list:
        return ()
    items = value.values() if kind is dict else value
    if _CONTAINERS.isdisjoint(map(type, items)):  # most have none, and they may be very long
        return ()
    return [item for item in items if type(item) in _CONTAINERS]


def _too_deep() -> Problem:
    return Problem(400, f"the body is nested deeper than {DEPTH_MAX} levels")


def write(data: Any) -> bytes:
    """Return JSON data as bytes."""
    try:
        return msgspec.json.encode(data)
    except (OverflowError, ValueError):
        text = json.dumps(_bounded(data), ensure_ascii=True, separators=(",", ":"))
        return text.encode()


def _bounded(data: Any) -> Any:
    """Replace integers that are too long for a number in JSON."""
    if isinstance(data, dict):
        return {key: _bounded(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_bounded(item) for item in data]
    if type(data) is int and data.bit_length() > INTEGER_BITS_MAX:
        return f"<an integer of {data.bit_length()} bits>"
    return data
