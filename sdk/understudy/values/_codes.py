"""The msgpack extension types that carry what msgpack has no type for.

They are part of what lies in stores: a number keeps its meaning for good.

=========== ====================================================================================
code        data
=========== ====================================================================================
BIG_INT     two's complement, big-endian
TUPLE       msgpack array of the items; SET and FROZENSET likewise
PAIRS       a dict with keys other than str and int: msgpack array [key, value, key, value, …]
DATETIME    "fold|ISO 8601|zone key", UTF-8; the key is empty but for a `zoneinfo.ZoneInfo`
TIME        the same
DATE        ISO 8601
TIMEDELTA   msgpack array [days, seconds, microseconds]
DECIMAL     its text
UUID        16 bytes
ENUM        msgpack array [qualified name, value]
RECORD      msgpack array [qualified name, fields]; dataclasses, Structs and pydantic models
PICKLE      what cloudpickle made
=========== ====================================================================================
"""

from __future__ import annotations

from typing import Final

BIG_INT: Final = 1
TUPLE: Final = 2
SET: Final = 3
FROZENSET: Final = 4
PAIRS: Final = 5
DATETIME: Final = 6
DATE: Final = 7
TIME: Final = 8
TIMEDELTA: Final = 9
DECIMAL: Final = 10
UUID: Final = 11
ENUM: Final = 12
RECORD: Final = 13
PICKLE: Final = 14

#: what msgpack's own integers hold
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**64 - 1

#: levels of nesting; far below what Python's and msgspec's recursion allow
DEPTH_MAX: Final = 100
