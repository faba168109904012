"""The text of metrics is what Prometheus's own client reads from it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from understudy_broker.monitoring.exposition import Family, histograms_text, numbers_text
from understudy_broker.monitoring.histogram import Histogram, Scale

FAMILY = Family("understudy_x", "gauge", "A number.", ("group", "function"))


# Names come from strangers; only half of a surrogate pair cannot be written at all.
@given(st.text(st.characters(codec="utf-8")), st.floats(0, 1e12))
def test_any_name_is_read_as_it_was(name: str, number: float) -> None:
    text = numbers_text(FAMILY, {("g", name): number})
    text.encode()
    [family] = text_string_to_metric_families(text)
    [sample] = family.samples
    assert sample.labels == {"group": "g", "function": name}
    assert abs(sample.value - number) <= number * 1e-9


def test_half_of_a_surrogate_pair_is_replaced() -> None:
    assert 'function="a?b"' in numbers_text(FAMILY, {("g", "a\ud800b"): 1})


def test_a_family_without_numbers_is_left_out() -> None:
    assert numbers_text(FAMILY, {}) == ""
    assert histograms_text(FAMILY._replace(kind="histogram"), Scale(1, (1,)), []) == ""


def test_a_histogram_is_read_with_its_count_and_its_sum() -> None:
    histogram = Histogram()
    for ms in (0, 3, 3, 5_000):
        histogram.observe(ms)
    family = Family("understudy_y_seconds", "histogram", "Times.", ("function",))
    text = histograms_text(family, Scale(0.001, (0, 2, 10)), [(('50% "odd"',), histogram)])
    [read] = text_string_to_metric_families(text)
    assert read.type == "histogram"
    found = {
        sample.name.removeprefix("understudy_y_seconds") + sample.labels.get("le", ""): sample.value
        for sample in read.samples
    }
    assert found == {
        "_bucket0.001": 1, "_bucket0.004": 3, "_bucket1.024": 3, "_bucket+Inf": 4,
        "_sum": 5.006, "_count": 4,
    }  # fmt: skip
    assert {sample.labels["function"] for sample in read.samples} == {'50% "odd"'}
