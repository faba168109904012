"""Nodes are counted by the builds that they say."""

from __future__ import annotations

import pytest

from tests.unit.sdk.ui.records import node
from understudy import ConfigurationError
from understudy.client.build import own_build
from understudy.ui.builds import build_rows
from understudy.ui.facts import NowFacts
from understudy.ui.overview import overview
from understudy_broker.protocol.messages import GroupInfo, GroupsReport

REPORT = GroupsReport(
    (
        GroupInfo(
            "bank",
            (
                node("b-1", build="old", held=3, concurrency=4),
                node("b-2", build="new", held=1, concurrency=4),
                node("b-3", held=2, concurrency=None),
            ),
            0,
            0,
        ),
        GroupInfo("shop", (node("s-1", build="new", held=5, concurrency=8),), 0, 0),
    ),
    {},
)


def test_builds_have_their_groups_nodes_and_tasks() -> None:
    new, old, unknown = build_rows(REPORT)
    assert (new.name, new.groups, new.nodes) == ("new", ["bank", "shop"], ["b-2", "s-1"])
    assert (new.running, new.concurrency, new.load) == (6, 12, 0.5)
    assert (old.name, old.nodes, old.running) == ("old", ["b-1"], 3)
    assert (unknown.name, unknown.concurrency, unknown.load) == ("", None, 0.0)


def test_a_group_shows_its_build_or_their_number() -> None:
    assert [row.build for row in overview(NowFacts(0, REPORT)).groups] == ["2 builds", "new"]


def test_a_build_is_a_short_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_BUILD", " 3f2a ")
    assert own_build() == "3f2a"
    for wrong in ("x" * 101, "a\nb"):
        monkeypatch.setenv("UNDERSTUDY_BUILD", wrong)
        with pytest.raises(ConfigurationError, match="at most 100 characters that are seen"):
            own_build()
