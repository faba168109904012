"""Searches, as far as the engines share them: pages and the bounds of prefixes.

The machine has checked each search before an engine sees it (`validation.check_page`). A page ends
at its limit, or sooner, at a bound in bytes: a search costs a few bytes to ask for, and its rows
may have megabytes each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Generic, TypeVar

from understudy_store.limits import MIB
from understudy_store.records import (
    CallRecord,
    PromiseRecord,
    ScheduleRecord,
    TaskRecord,
    Value,
)

T = TypeVar("T")

#: bytes of the rows of a page, beyond its first row
PAGE_BYTES_MAX: Final = MIB


class Rereading(Generic[T]):
    """An iterable that reads from the store anew each time, so that nothing is kept in memory."""

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], Iterator[T]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[T]:
        return self._read()


def prefix_end(prefix: str) -> str | None:
    """Return the least text above every text that begins with `prefix`; None if there is none."""
    while prefix:
        head, last = prefix[:-1], ord(prefix[-1])
        if last < sys.maxunicode:
            # UTF-8 has no surrogates: the next character after U+D7FF is U+E000.
            return head + chr(0xE000 if last == 0xD7FF else last + 1)
        prefix = head
    return None


def page(
    found: Iterable[T],
    limit: int,
    key: Callable[[T], str],
    size: Callable[[T], int],
    bytes_max: int = PAGE_BYTES_MAX,
) -> tuple[list[T], str | None]:
    """Return the items of a page, and the next cursor if `found` has more.

    The page has at most `limit` items, and after the first at most `bytes_max` bytes. Nothing is
    read of `found` beyond the first item that it has no room for.

    Parameters
    ----------
    key
        Returns the id of an item.
    size
        Returns its bytes.

    Examples
    --------
    >>> page(["a", "b", "c"], 2, key=str, size=len)
    (['a', 'b'], 'b')
    >>> page(["a", "b", "c"], 3, key=str, size=len, bytes_max=1)
    (['a', 'b'], 'b')
    >>> page(["c"], 3, key=str, size=len)
    (['c'], None)
    """
    items: list[T] = []
    left = bytes_max
    for item in found:
        if items:
            left -= size(item)
            if left < 0 or len(items) == limit:
                return items, key(items[-1])
        items.append(item)
    return items, None


def promise_bytes(record: PromiseRecord) -> int:
    """Return about how many bytes of text and data a promise has."""
    return _value_bytes(record.param) + _value_bytes(record.value) + _texts_bytes(record.tags)


def task_bytes(record: TaskRecord) -> int:
    """Return about how many bytes of text a task has."""
    return sum(map(len, (*record.resumes, *record.awaits))) + len(record.cause or "")


def call_bytes(record: CallRecord) -> int:
    """Return about how many bytes of text a root call has."""
    return len(record.id) + _texts_bytes(record.tags) + len(record.cause or "")


def schedule_bytes(record: ScheduleRecord) -> int:
    """Return about how many bytes of text and data a schedule has."""
    return _value_bytes(record.promise_param) + _texts_bytes(record.promise_tags)


def _value_bytes(value: Value) -> int:
    return len(value.data or b"") + _texts_bytes(value.headers)


def _texts_bytes(texts: dict[str, str]) -> int:
    return sum(len(key) + len(text) for key, text in texts.items())
