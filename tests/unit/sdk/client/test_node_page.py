"""The page of a node shows each of its families."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from understudy.client.node_page import FAMILIES, NodeNumbers, node_text
from understudy_actors.node.statistics import NodeStatistics
from understudy_broker.monitoring.histogram import Histogram
from understudy_broker.server import metrics_page


def full_page() -> str:
    """Return a page on which each family has numbers."""
    execution = Histogram()
    execution.observe(20)
    statistics = NodeStatistics(
        running=1, held=2, warm=3, done=4, failed=5, replays=6, replayed_steps=7, warm_resumes=8,
        credit=9,
    )  # fmt: skip
    numbers = NodeNumbers(
        group="g", connected=True, concurrency=32, backlog=0, statistics=statistics,
        executions={"f": execution}, blocked={"trio": 6.5}, collections=(1, 2, 3), lag_s=0.1,
    )  # fmt: skip
    return node_text(numbers)


def test_each_family_is_shown_with_its_type_and_its_labels() -> None:
    read = {each.name: each for each in text_string_to_metric_families(full_page())}
    for family in FAMILIES:
        found = read.pop(family.name.removesuffix("_total"))
        assert found.type == family.kind
        for sample in found.samples:
            assert set(sample.labels) - {"le"} == set(family.labels), family.name
    assert not read


def test_no_name_is_that_of_a_brokers_number() -> None:
    # A sum over all programs would count it twice.
    assert not {each.name for each in FAMILIES} & {each.name for each in metrics_page.FAMILIES}
