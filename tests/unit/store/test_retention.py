"""Rules of retention: which one counts, and what is due when."""

from __future__ import annotations

import pytest

from understudy_store.records import KEPT_FOREVER, EndedGraph, RetentionRules
from understudy_store.retention import (
    Root,
    before,
    duration_ms,
    is_chosen,
    is_due,
    keeps_id,
    kept_ms,
)

RULES = RetentionRules(
    default=30,
    groups={"shop": 20, "bank": None},
    functions={"shop/checkout": 90, "report": 5, "bank/audit": None},
    values=7,
    idempotency=100,
)


def root(function: str | None = "f", group: str | None = "g", retention: int | None = None) -> Root:
    return Root("r", "resolved", 1000, function, group, retention)


@pytest.mark.parametrize(
    ("of", "kept"),
    [
        (root(), 30),
        (root(None, None), 30),
        (root("f", "shop"), 20),
        (root("checkout", "shop"), 90),
        (root("checkout", "other"), 30),
        (root("report", "shop"), 5),
        (root("f", "bank"), None),
        (root("report", "bank"), 5),
        (root("audit", "bank"), None),
        (root("checkout", "shop", 3), 3),
        (root("audit", "bank", 0), 0),
        (root("report", "shop", KEPT_FOREVER), None),
    ],
)
def test_the_closest_rule_counts(of: Root, kept: int | None) -> None:
    assert kept_ms(of, RULES) == kept
    if kept is not None:
        assert not is_due("graphs", of, RULES, 1000 + kept - 1)
        assert is_due("graphs", of, RULES, 1000 + kept)
    else:
        assert not is_due("graphs", of, RULES, 2**61)


def test_nothing_is_due_that_ended_after_the_time_to_look_before() -> None:
    """The bound of the look takes in all that any rule lets go, and no more."""
    assert before("graphs", RULES, 1000) == 1000 - 5 + 1
    assert before("values", RULES, 1000) == 1000 - 7 + 1
    assert before("gone", RULES, 1000) == 1000 - 100 + 1
    assert before("kept", RULES, 1000) == 1001
    never = RetentionRules(None, {"g": None}, {}, None, None)
    assert [before(kind, never, 1) for kind in ("graphs", "values", "gone")] == [None] * 3


def test_ids_stay_taken_from_the_end_of_the_call_on() -> None:
    graph = EndedGraph("r", "resolved", 1000)
    assert keeps_id(graph, RULES, 1099)
    assert not keeps_id(graph, RULES, 1100)
    assert keeps_id(graph, RetentionRules(idempotency=None), 2**61)
    assert not keeps_id(graph, RetentionRules(idempotency=0), 1000)
    assert not is_chosen("r.1", "r")
    assert is_chosen("r1", "r")


@pytest.mark.parametrize("text", ["", "30", "d", "1.5d", "-1d", "30 d", "1y", "9" * 10 + "d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        duration_ms(text)
