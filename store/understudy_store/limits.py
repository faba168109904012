"""Bounds of what the store accepts. Past a bound, a command is refused; nothing is truncated."""

from __future__ import annotations

from typing import Final

import msgspec

KIB = 1024
MIB = 1024 * KIB
#: The last second that Python has a date for, in seconds since the epoch. The store counts on.
DATE_MAX_S: Final = 253_402_300_799
#: the longest timeout, delay or lease in milliseconds: 1,000 years, which end before the year 9999
DURATION_MS_MAX: Final = 365_250 * 86_400_000
#: UTF-8 characters in an id, unless the limits of a store say otherwise
ID_CHARS_MAX = 512


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of one command.

    A command past a bound is answered with status 400 (413 for payloads) and changes nothing.
    """

    #: UTF-8 characters in a promise, task or schedule id
    id_chars_max: int = ID_CHARS_MAX
    #: bytes of data in one param or value
    payload_bytes_max: int = 4 * MIB
    #: entries in one tags or headers dict, and characters in each key and text
    tags_max: int = 64
    tag_chars_max: int = 2048
    #: characters of all keys and texts of one such dict together
    texts_chars_max: int = 16 * KIB
    #: characters in one header's text (a call site, a retry policy)
    header_chars_max: int = 4096
    #: commands inside one fence, ids in one suspend, heartbeat or watch
    batch_max: int = 16_384
    #: schedules, and those among them that say seconds: these may come due every second
    schedules_max: int = 10_000
    second_schedules_max: int = 100
    #: callbacks and listeners on one promise
    callbacks_max: int = 100_000
    #: records in one page of a search
    page_max: int = 1000
