"""The msgpack extension types for values that msgpack itself has no type for.

They are part of the wire format and of every store: a number never changes its meaning.

=========== ====================================================================================
code        data
=========== ====================================================================================
BIG_INT     two's complement, big-endian
TUPLE       msgpack array of the items; SET and FROZENSET likewise
PAIRS       a dict with keys other than str and int: msgpack array [key, value, key, value, …]
DATETIME    "fold|ISO 8601|zone key", UTF-8; `zones` has the keys
TIME        the same
DATE        ISO 8601
TIMEDELTA   msgpack array [days, seconds, microseconds]
DECIMAL     its text
UUID        16 bytes
ENUM        msgpack array [class, value], and the member's name if the value is pickled
RECORD      msgpack array [class, fields]; dataclasses and Structs. The fields of a named tuple are
            a TUPLE, those of other classes inside a pydantic model are what pydantic reads
PICKLE      the bytes that cloudpickle made
ERROR       an exception, as `error_encoding` writes it
MODEL       a pydantic model: msgpack array [class, fields, names of fields that were set, extra
            fields or nil, private attributes or nil]; the fields of a root model are its root
FOREIGN     text of another protocol, after a byte that says of which kind: `foreign`
=========== ====================================================================================

A class is "module:qualified name". Stores of early versions have the qualified name alone, named
tuples as TUPLE, and pydantic models as RECORD with what the model dumps.
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
ERROR: Final = 15
MODEL: Final = 16
FOREIGN: Final = 32
