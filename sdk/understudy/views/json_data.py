"""Stored values as JSON data. Pickles are never loaded."""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from typing import Any, Final

import msgspec

from understudy.values.decoding import Decoder
from understudy.values.seals import key_id, problem_of
from understudy.views.long_integers import unlimited_digits

#: characters of a value in a table
WIDTH: Final = 60
#: An integer of more bits is described: the time for its digits grows with their square.
INTEGER_BITS_MAX: Final = 200_000


def _describe_pickle(data: memoryview) -> str:
    return f"<pickled, {len(data)} bytes>"


def _describe_error(data: memoryview) -> Any:
    return _DECODER.decode(data)


_DECODER: Final = Decoder(_describe_pickle, _describe_error, tagged=False)


def decoded(data: bytes | None) -> Any:
    """Decode stored data to JSON data; text in angle brackets replaces what cannot be shown.

    A sealed value becomes an object: ``sealed`` is the id of its key, ``data`` the value in base64.
    """
    if data is None:
        return None
    if id_ := key_id(data):
        return {"sealed": id_, "data": base64.b64encode(data).decode()}
    try:
        with unlimited_digits():
            return jsonable(_DECODER.decode(data))
    except Exception:
        return f"<not readable, {len(data)} bytes>"


def sealed_text(data: bytes | None) -> str:
    """Say of a sealed value that it cannot be shown here, and what would help."""
    id_ = key_id(data or b"")
    if not id_:
        return problem_of(data or b"", None)
    return (
        f"it is sealed with the key {id_!r}, and cannot be opened here: this "
        "process does not have that key (UNDERSTUDY_SEAL_KEYS), or the value was changed"
    )


def jsonable(value: Any) -> Any:
    """Convert a value to JSON data.

    Bytes become base64, sets and tuples become lists; dates and durations become text as ISO 8601
    has it. Other types and keys become text, and so do integers of more than `INTEGER_BITS_MAX`
    bits.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {_key(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((jsonable(item) for item in value), key=str)
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return str(msgspec.to_builtins(value))
    return str(value)


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(jsonable(key) if isinstance(key, int) else key)


def _integer(value: int) -> int | str:
    bits = value.bit_length()
    return value if bits <= INTEGER_BITS_MAX else f"<an integer of {bits} bits>"


def compact(value: Any, width: int | None = WIDTH) -> str:
    """Format JSON data on one line, cut to `width` characters; None does not cut."""
    with unlimited_digits():
        text = json.dumps(value, ensure_ascii=False)
    return text if width is None or len(text) <= width else f"{text[: width - 1]}…"
