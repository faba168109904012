"""Timers: which key is due when. An armed timer means "not before".

Keys that are due in the same millisecond share a bucket: all children of a call share its deadline,
so the heap holds few entries. A key that is alone is its own bucket. A bucket that empties leaves
its entry in the heap, to be dropped when it comes to the front, or all at once when such entries
outnumber the live ones by 1024.

The machine asks several times per turn when something is due, and arms and disarms far less often;
so the answer is kept in an attribute, `next_at`, and asking costs no call.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Any, Final

#: a time later than every time that a timer is armed for
NEVER: Final = 2**63
_GARBAGE_MAX: Final = 1024


class Timers:
    """At most one timer for each key; its owner remembers for when it is armed."""

    __slots__ = ("_buckets", "_heap", "next_at")

    def __init__(self) -> None:
        self._heap: list[int] = []
        self._buckets: dict[int, str | dict[str, None]] = {}
        #: when the first key is due, epoch milliseconds; `NEVER` if none is armed
        self.next_at = NEVER

    def __len__(self) -> int:
        """Count the keys that are armed, bucket by bucket."""
        return sum(len(each) if type(each) is dict else 1 for each in self._buckets.values())

    def arm(self, at: int, key: str) -> None:
        """Make `key` due at `at`; it must not be armed."""
        bucket: Any = self._buckets.get(at)
        if bucket is None:
            self._buckets[at] = key
            heappush(self._heap, at)
            if at < self.next_at:
                self.next_at = at
            return
        # On the hot path, so untyped: asking for the type takes longer than the work itself.
        try:
            bucket[key] = None
        except TypeError:
            self._buckets[at] = {bucket: None, key: None}

    def disarm(self, at: int, key: str) -> None:
        """Take back what was armed for the same `at`."""
        buckets = self._buckets
        bucket: Any = buckets[at]
        if bucket is not key:
            try:
                del bucket[key]
            except TypeError:
                if bucket != key:
                    raise KeyError(key) from None
            else:
                if bucket:
                    return
        del buckets[at]
        heap = self._heap
        if at == self.next_at:
            while heap and heap[0] not in buckets:
                heappop(heap)
            self.next_at = heap[0] if heap else NEVER
        if len(heap) > 2 * len(buckets) + _GARBAGE_MAX:
            self._heap = list(buckets)
            heapify(self._heap)

    def first(self, now: int, limit: int) -> list[str]:
        """Return up to `limit` keys due at `now`, all of the earliest time; they stay armed.

        A caller that acts on a key disarms it, or the same key comes again.
        """
        if self.next_at > now:
            return []
        bucket = self._buckets[self.next_at]
        return [bucket] if isinstance(bucket, str) else list(islice(bucket, limit))
