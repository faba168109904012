"""The page of a broker: what it shows is what it says that it shows, and it stays small."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.unit.broker.core.rig import Rig
from understudy_broker.core.survey import survey
from understudy_broker.keys.grants import EVERYTHING
from understudy_broker.keys.quota import Quota
from understudy_broker.monitoring.histogram import Histogram
from understudy_broker.protocol.messages import GroupPause
from understudy_broker.server.group_commit import Commits
from understudy_broker.server.metrics_page import FAMILIES, broker_text
from understudy_broker.server.monitor import shortages
from understudy_store.commands import TaskHalt, TaskRelease
from understudy_store.engines.base import Measures

MEASURES = Measures(lag_s=0.5, journal_bytes=10, store_bytes=20, free_bytes=2**40)


def page(rig: Rig, measures: Measures = MEASURES) -> str:
    commits = Commits(Histogram(), Histogram())
    commits.took_us.observe(900)
    commits.sizes.observe(3)
    return broker_text(survey(rig.core, rig.now), measures, commits, 0.001)


def full_page() -> str:
    """Return a page on which each family has numbers."""
    grants = {"a": EVERYTHING._replace(limits=Quota(connections=9))}
    rig = Rig(counts_calls=True, peers_max=2, grant_of=grants.get)
    rig.core.sessions.identity_of = {b"n": "a"}.get
    rig.join(b"n", "n", credit=10)
    rig.reply(b"n", GroupPause("other"))
    rig.create(b"n", "p")
    rig.reply(b"n", TaskRelease("p", 1, 0, True, "no"))
    rig.reply(b"n", TaskHalt("p", "UnknownFunctionError: f", 2))
    rig.create(b"n", "q", in_ms=10)
    rig.core.metrics.count_limited("promises")
    rig.pass_time(1_000)
    return page(rig)


def test_each_family_is_shown_with_its_type_and_its_labels() -> None:
    read = {each.name: each for each in text_string_to_metric_families(full_page())}
    for family in FAMILIES:
        found = read.pop(family.name.removesuffix("_total"))
        assert found.type == family.kind
        assert found.documentation == family.help
        for sample in found.samples:
            assert set(sample.labels) - {"le"} == set(family.labels), family.name
    assert not read


def test_no_id_is_on_the_page() -> None:
    rig = Rig(counts_calls=True)
    rig.join(b"n", "n", credit=10)
    rig.create(b"n", "a-secret-id")
    assert "secret" not in page(rig)


def test_what_a_store_does_not_know_is_left_out() -> None:
    text = page(Rig(), Measures())
    assert "understudy_store_bytes" not in text
    assert "understudy_follower_lag_seconds" not in text


def test_shortages_of_a_store_are_said() -> None:
    assert shortages(Measures()) == shortages(MEASURES) == []
    [late, full] = shortages(Measures(lag_s=11, free_bytes=1024 * 1024))
    assert late == "the store's tables are 11 s behind its journal"
    assert full == "the disk of the store has 1.0 MiB left"
