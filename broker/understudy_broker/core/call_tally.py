"""The tally of calls by group and function: created, settled, and how long they took. Pure.

It is counted in each batch that is about to be committed, a call at a time, so a call may cost only
a few operations. The calls of a fan-out share the objects of their headers and tags, so whose they
are is looked up only where these change.

Callers choose the names of groups and functions, and each set of names keeps its numbers for as
long as the broker runs. So there is a bound: beyond it, all other calls are counted together, under
the name ``other``.
"""

from __future__ import annotations

from typing import Final

from understudy_broker.monitoring.histogram import Histogram
from understudy_store.addresses import InvalidAddressError, parse_target
from understudy_store.changes import Changes
from understudy_store.records import HEADER_FUNCTION, TAG_TARGET, PromiseRecord

#: pairs of group and function that are counted by themselves
PAIRS_MAX: Final = 2_000
#: pairs of group and priority whose waits are counted by themselves
QUEUES_MAX: Final = 500
#: the group and the function of all other calls
OTHER: Final = "other"
#: addresses, with function, whose pair is remembered
_ADDRESSES_MAX: Final = 8_192
#: characters of a name that are shown
_NAME_CHARS_MAX: Final = 128


class CallCounts:
    """Counts of the calls of one function in one group.

    Attributes
    ----------
    created
        Calls that were created.
    ended
        Durations from creation to settlement, milliseconds, by the state in which they ended.
    """

    __slots__ = ("created", "ended", "function", "group")

    def __init__(self, group: str, function: str) -> None:
        self.group = group
        self.function = function
        self.created = 0
        self.ended: dict[str, Histogram] = {}


class CallTally:
    """Counts of all calls since the start.

    Attributes
    ----------
    counts
        By group and function.
    waits
        For how long tasks have waited in their queue until a node got them, milliseconds, by group
        and priority.
    """

    def __init__(self, pairs_max: int = PAIRS_MAX) -> None:
        self.counts: dict[tuple[str, str], CallCounts] = {}
        self.waits: dict[tuple[str, int], Histogram] = {}
        self._pairs_max = pairs_max
        self._by_address: dict[tuple[str, str], CallCounts] = {}
        # The call that was looked up last.
        self._tags: dict[str, str] | None = None
        self._headers: dict[str, str] | None = None
        self._found = CallCounts(OTHER, OTHER)

    def take(self, changes: Changes) -> None:
        """Count the calls that a batch creates and settles. What has no target is no call."""
        tags, headers, counts = self._tags, self._headers, self._found
        for row in changes.inserted:
            if row.task is None:
                continue
            promise = row.promise
            if promise.tags is not tags or promise.param.headers is not headers:
                tags, headers = promise.tags, promise.param.headers
                counts = self._find(tags[TAG_TARGET], headers.get(HEADER_FUNCTION, ""))
            counts.created += 1
            if promise.settled_at is not None:
                _end(counts, promise, promise.settled_at)
        for row in changes.updated:
            promise = row.promise
            settled_at = promise.settled_at
            if settled_at is None or row.task is None:
                continue
            if promise.tags is not tags or promise.param.headers is not headers:
                tags, headers = promise.tags, promise.param.headers
                counts = self._find(tags[TAG_TARGET], headers.get(HEADER_FUNCTION, ""))
            _end(counts, promise, settled_at)
        self._tags, self._headers, self._found = tags, headers, counts

    def started(self, group: str, priority: int, waited_ms: int) -> None:
        """Note that a node has got a task that was queued."""
        histogram = self.waits.get((group, priority))
        if histogram is None:
            key = (group, priority) if len(self.waits) < QUEUES_MAX else (OTHER, 0)
            histogram = self.waits.get(key) or self.waits.setdefault(key, Histogram())
        histogram.buckets[waited_ms.bit_length()] += 1
        histogram.total += waited_ms

    def _find(self, address: str, function: str) -> CallCounts:
        found = self._by_address.get((address, function))
        if found is None:
            found = self._pair(address, function)
            if len(self._by_address) >= _ADDRESSES_MAX:
                self._by_address.clear()
            self._by_address[address, function] = found
        return found

    def _pair(self, address: str, function: str) -> CallCounts:
        key = group_of(address), function[:_NAME_CHARS_MAX]
        found = self.counts.get(key)
        if found is None:
            if len(self.counts) >= self._pairs_max:
                key = OTHER, OTHER
            found = self.counts.get(key) or self.counts.setdefault(key, CallCounts(*key))
        return found


def _end(counts: CallCounts, promise: PromiseRecord, settled_at: int) -> None:
    histogram = counts.ended.get(promise.state)
    if histogram is None:
        histogram = counts.ended[promise.state] = Histogram()
    ms = settled_at - promise.created_at
    histogram.buckets[ms.bit_length()] += 1
    histogram.total += ms


def group_of(address: str) -> str:
    """Return the group that an address names; its scheme, if it names none.

    Examples
    --------
    >>> group_of("poll://any@orders"), group_of("http://pay.example/hook")
    ('orders', 'http')
    """
    scheme, separator, _ = address.partition("://")
    if separator and scheme != "poll":
        return scheme
    try:
        return parse_target(address).group[:_NAME_CHARS_MAX]
    except InvalidAddressError:
        return OTHER
