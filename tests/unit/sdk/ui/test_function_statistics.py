"""Functions that fail most come first."""

from __future__ import annotations

from understudy.ui.function_statistics import function_statistics, percentile
from understudy_store.records import CallRecord, PromiseState


def call(function: str, took: int, state: PromiseState = "resolved") -> CallRecord:
    """Make a call that has ended."""
    error = "OSError" if state == "rejected" else None
    return CallRecord(
        "a", function, "g", state, "fulfilled", {}, 0, 9, settled_at=took, error=error
    )


def test_statistics_of_each_function() -> None:
    found = function_statistics([call("a", n) for n in range(1, 101)] + [call("b", 5, "rejected")])
    assert [(each.name, each.calls, each.failed) for each in found] == [("b", 1, 1), ("a", 100, 0)]
    assert (found[1].p50, found[1].p95, found[1].p99) == ("50 ms", "95 ms", "99 ms")
    assert (found[0].p50, found[0].errors) == ("–", ["OSError (1)"])


def test_percentiles_are_of_the_numbers_themselves() -> None:
    assert [percentile([10, 20, 30], part) for part in (0.01, 0.5, 0.99)] == [10, 20, 30]
