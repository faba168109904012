"""Server-sent events: the text of a stream, and what an id in it means.

A `promise` event tells the state of one promise as it is now, not a step: a client that gets it
twice is no worse off, and one that misses a state in between only knows less of the past. Its id is
the time, by the brokers' clock, of the latest change that the stream has told. So a client that
comes back with a ``Last-Event-ID``, to whichever edge, is told what has changed since, and a little
more: changes are told later than they are made. A `progress` event has no id, and is not repeated.
"""

from __future__ import annotations

from typing import Any, Final

from understudy.edge.native.bodies import write
from understudy_store.records import PromiseRecord

MEDIA_TYPE: Final = "text/event-stream"
#: sent while there is nothing to tell, so that proxies and both ends know that the other is there
COMMENT: Final = b":\n\n"
#: how long a client waits until it connects again
RETRY_MS: Final = 1000
#: What changed in that time before the last id is told again. A graph is read after pauses of half
#: that at most (`feeds.PAUSE_MAX_S`), and what is found then may have changed just after the last.
OVERLAP_MS: Final = 60_000
#: digits of the longest id
_DIGITS_MAX: Final = 15


def opening() -> bytes:
    """Return the beginning of a stream."""
    return b"retry: %d\n\n" % RETRY_MS


def event(name: str, data: Any, id_: int | None = None) -> bytes:
    """Return the text of one event.

    Parameters
    ----------
    data
        JSON data. As JSON it has no line breaks.

    Examples
    --------
    >>> event("end", {"state": "resolved"}, 7)
    b'id: 7\\nevent: end\\ndata: {"state":"resolved"}\\n\\n'
    """
    head = b"" if id_ is None else b"id: %d\n" % id_
    return b"%sevent: %s\ndata: %s\n\n" % (head, name.encode(), write(data))


def last_event_id(header: bytes | None) -> int | None:
    """Return the id of the last event that a client has got; None if it has none of ours."""
    text = (header or b"").strip()
    return int(text) if text.isdigit() and len(text) <= _DIGITS_MAX else None


def changed_at(record: PromiseRecord) -> int:
    """Return when a promise changed last: its settlement, or its creation."""
    return record.created_at if record.settled_at is None else record.settled_at


def is_known(changed: int, last_id: int | None) -> bool:
    """Return whether a client that has got an event of this id knows of a change at that time."""
    return last_id is not None and changed <= last_id - OVERLAP_MS
