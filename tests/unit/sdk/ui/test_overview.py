"""The first page says in one sentence what is wrong, and the worst of it first."""

from __future__ import annotations

from tests.unit.sdk.ui.records import node, report, task
from understudy.ui.facts import BrokerFacts, NowFacts
from understudy.ui.overview import overview
from understudy_broker.protocol.messages import GroupInfo


def test_all_is_well() -> None:
    found = overview(NowFacts(0, report()))
    assert (found.level, found.headline) == ("ok", "All is well: 1 node serves 1 group")
    assert found.problems == []
    assert found.groups[0].load == 0.25


def test_a_group_without_nodes_stands_still_if_something_waits_there() -> None:
    found = overview(NowFacts(0, report(GroupInfo("bank", (), 3, 4_000))))
    assert found.level == "bad"
    assert found.problems[0].text == "No node serves the group, and 3 tasks wait"
    assert found.problems[0].advice == "understudy node app:runtime --group bank"
    assert overview(NowFacts(0, report(GroupInfo("bank", (), 0, 0)))).level == "ok"


def test_a_silent_node_is_told_of() -> None:
    found = overview(NowFacts(0, report(GroupInfo("bank", (node(silent_ms=9_000),), 0, 0))))
    assert found.level == "bad"
    assert found.groups[0].state == "silent"
    assert "py-spy" in found.problems[0].advice


def test_parked_tasks_come_first_and_retries_after_them() -> None:
    parked = task("b", "halted", cause="it has another order of calls")
    retried = task("a", "pending", failures=2, cause="attempt 2 failed: OSError: no paper")
    group = GroupInfo("bank", (node(),), 1, 100)
    found = overview(NowFacts(0, report(group), [parked], [retried]))
    assert [(each.level, each.ids) for each in found.problems] == [
        ("bad", ("b",)),
        ("warn", ("a",)),
    ]
    assert found.groups[0].parked == 1


def test_parked_tasks_of_a_group_that_is_gone_are_told_of() -> None:
    found = overview(NowFacts(0, report(GroupInfo("shop", (), 0, 0)), [task("b", "halted")]))
    assert [(each.group, each.ids) for each in found.problems] == [("bank", ("b",))]


def test_a_broker_that_is_away_stands_first() -> None:
    away = BrokerFacts("two", "tcp://h:1", tuple(range(128)), answers=False)
    found = overview(NowFacts(0, report(), brokers=[away]))
    assert found.problems[0].text.startswith("The broker two at tcp://h:1 does not answer")


def test_five_thousand_groups_are_counted() -> None:
    many = [GroupInfo(f"g{n}", (), 0, 0) for n in range(5_000)]
    found = overview(NowFacts(0, report(*many)))
    assert (len(found.groups), found.left_out) == (400, 4_600)
