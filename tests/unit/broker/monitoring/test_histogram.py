"""Histograms count numbers by their bits, and show the buckets of a scale."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from understudy_broker.monitoring.histogram import CALLS, COMMITS, SIZES, WAITS, Histogram, Scale
from understudy_store.machine.validation import TIME_MS_MAX


@given(st.lists(st.integers(0, TIME_MS_MAX)))
def test_each_number_is_counted_in_the_bucket_below_whose_bound_it_is(numbers: list[int]) -> None:
    histogram = Histogram()
    for number in numbers:
        histogram.observe(number)
    assert histogram.total == sum(numbers)
    for bits in range(48):
        counted = sum(histogram.buckets[: bits + 1])
        assert counted == sum(1 for number in numbers if number < 2**bits)


def test_the_bounds_of_scales_are_in_their_unit() -> None:
    assert CALLS.bounds()[0] == 0.001
    assert 4 * 3600 < CALLS.bounds()[-1] < 5 * 3600
    assert WAITS.bounds()[:3] == [0.001, 0.002, 0.004]
    assert 16 < COMMITS.bounds()[-1] < 17
    assert SIZES.bounds()[:4] == [0, 1, 3, 7]
    for scale in (CALLS, WAITS, COMMITS, SIZES):
        assert scale.bounds() == sorted(scale.bounds())
    assert Scale(1, (3,)).bounds() == [8]
