"""Searches, as far as the engines share them: pages and the bounds of prefixes.

The machine has checked each search before an engine sees it (`validation.check_page`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


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


def page(found: Sequence[T], limit: int, key: Callable[[T], str]) -> tuple[list[T], str | None]:
    """Return up to `limit` items of `found`, and the next cursor if it has one more."""
    items = list(found[:limit])
    return items, key(items[-1]) if len(found) > limit else None
