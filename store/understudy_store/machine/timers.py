"""Timers: which key is due when. An armed timer means "not before".

Keys that are due in the same millisecond share a bucket: all children of a call share its deadline,
so the heap holds few entries. A key that is alone is its own bucket. A bucket that empties leaves
its entry in the heap, to be dropped when it comes to the front, or all at once when such entries
outnumber the live ones by 1024.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Any

_GARBAGE_MAX = 1024


class Timers:
    """At most one timer for each key; whoever arms it remembers when."""

    __slots__ = ("_buckets", "_heap")

    def __init__(self) -> None:
        self._heap: list[int] = []
        self._buckets: dict[int, str | dict[str, None]] = {}

    def __len__(self) -> int:
        """How many keys are armed; counts the buckets."""
        return sum(len(each) if type(each) is dict else 1 for each in self._buckets.values())

    def arm(self, at: int, key: str) -> None:
        """Make `key` due at `at`; it must not be armed."""
        bucket: Any = self._buckets.get(at)
        if bucket is None:
            self._buckets[at] = key
            heappush(self._heap, at)
            return
        # on the hot path: a question for the type takes longer than what is done
        try:
            bucket[key] = None
        except TypeError:
            self._buckets[at] = {bucket: None, key: None}

    def disarm(self, at: int, key: str) -> None:
        """Take back what was armed for the same `at`."""
        bucket: Any = self._buckets[at]
        if bucket is not key:
            try:
                del bucket[key]
            except TypeError:
                if bucket != key:
                    raise KeyError(key) from None
            else:
                if bucket:
                    return
        del self._buckets[at]
        if len(self._heap) > 2 * len(self._buckets) + _GARBAGE_MAX:
            self._heap = list(self._buckets)
            heapify(self._heap)

    def next(self) -> int | None:
        """When the first is due."""
        heap, buckets = self._heap, self._buckets
        while heap:
            if heap[0] in buckets:
                return heap[0]
            heappop(heap)
        return None

    def due(self, now: int) -> bool:
        """Whether any is due at `now`."""
        at = self.next()
        return at is not None and at <= now

    def first(self, now: int, limit: int) -> list[str]:
        """Some keys due at `now`, the earliest first; they stay armed.

        Who acts on a key disarms it, or the same key comes again.
        """
        at = self.next()
        if at is None or at > now:
            return []
        bucket = self._buckets[at]
        return [bucket] if isinstance(bucket, str) else list(islice(bucket, limit))
