"""Statistics of functions from lists of their calls. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from understudy.views.times import duration
from understudy_store.records import REJECTED, RESOLVED, TIMEDOUT, CallRecord


class FunctionStatistics(NamedTuple):
    """Numbers about the calls of one function.

    Attributes
    ----------
    p50, p95, p99
        Within this time so many percent of those that have ended with a value did; as text.
    errors
        The classes of exceptions, the most frequent first.
    """

    name: str
    calls: int
    failed: int
    p50: str
    p95: str
    p99: str
    errors: Sequence[str]


def function_statistics(calls: Iterable[CallRecord]) -> list[FunctionStatistics]:
    """Return statistics of each function, those that fail most first."""
    by_name: dict[str, list[CallRecord]] = {}
    for call in calls:
        by_name.setdefault(call.function, []).append(call)
    found = [_of(name, each) for name, each in by_name.items()]
    return sorted(found, key=lambda each: (-each.failed, -each.calls, each.name))


def _of(name: str, calls: Sequence[CallRecord]) -> FunctionStatistics:
    took = sorted(
        call.settled_at - call.created_at
        for call in calls
        if call.state == RESOLVED and call.settled_at is not None
    )
    errors = Counter(call.error for call in calls if call.error)
    return FunctionStatistics(
        name,
        len(calls),
        sum(call.state in (REJECTED, TIMEDOUT) for call in calls),
        _time(took, 0.5),
        _time(took, 0.95),
        _time(took, 0.99),
        [f"{error} ({count})" for error, count in errors.most_common(3)],
    )


def _time(took: Sequence[int], part: float) -> str:
    return duration(percentile(took, part)) if took else "–"


def percentile(ordered: Sequence[int], part: float) -> int:
    """Return the number that so large a part of all is not above.

    Examples
    --------
    >>> percentile([1, 2, 3, 4], 0.5), percentile([7], 0.99)
    (2, 7)
    """
    place = max(0, -(-len(ordered) * round(part * 100) // 100) - 1)
    return ordered[min(place, len(ordered) - 1)]
