"""Which broker has which slots, as text and as data."""

from __future__ import annotations

import pytest

from understudy.cli.commands.slots import placement_json, placement_text
from understudy.cli.deployment import Placement
from understudy_broker.server.placement import runs_text

BROKERS = (("a", "tcp://one:1"), ("b", "tcp://two:1"))
OWNERS: list[str | None] = ["a"] * 18 + ["b"] * 22 + ["a"] + [None] * 2 + ["b"] * 213


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([7], "7"), ([0, 1, 2, 40], "0-2, 40"), ([3, 5, 6], "3, 5-6")],
)
def test_runs(numbers: list[int], text: str) -> None:
    assert runs_text(numbers) == text


def test_each_broker_has_a_line_and_so_has_nobody() -> None:
    lines = placement_text(Placement("shop", 3, BROKERS, OWNERS)).splitlines()
    assert lines == [
        "BROKER    SLOTS  WHICH",
        "a         19     0-17, 40",
        "b         235    18-39, 43-255",
        "(nobody)  2      41-42",
    ]


def test_data() -> None:
    data = placement_json(Placement("shop", 3, BROKERS, OWNERS))
    assert (data["deployment"], data["version"], data["unowned"]) == ("shop", 3, [41, 42])
    first, second = data["brokers"]
    assert first == {"name": "a", "address": "tcp://one:1", "slots": [*range(18), 40]}
    assert len(second["slots"]) == 235
