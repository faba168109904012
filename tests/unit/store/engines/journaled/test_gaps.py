"""Calls whose ids ascend take a look at the table now and then, and no call is taken for new."""

from __future__ import annotations

import pytest

from understudy_store.engines.journaled.absent_ids import AbsentIds
from understudy_store.engines.journaled.gaps import GAPS_MAX, SKIPPED, WALK_MAX, Gap


def _created(absent_ids: AbsentIds, id_: str) -> bool:
    """Create a call; return whether that took a look at the table."""
    looked = bool(absent_ids.possible([id_]))
    absent_ids.inserted([id_])
    return looked


def test_ids_that_ascend_take_no_look() -> None:
    absent_ids = AbsentIds()
    absent_ids.learn_gap(Gap("order-1041", "order-105"))
    for number in range(1041, 1050):
        assert not _created(absent_ids, f"order-{number}")
        assert absent_ids.possible([f"order-{number}"]) == [f"order-{number}"]
        # nor do their steps, and calls of functions
        assert not _created(absent_ids, f"order-{number}.1")
        assert not _created(absent_ids, f"order-{number}.1.1")
    assert absent_ids.possible(["order-1050", "order-104", "order-105"]) == [
        *("order-1050", "order-104", "order-105"),
    ]


def test_after_the_last_id_of_the_table_everything_is_free() -> None:
    absent_ids = AbsentIds()
    absent_ids.learn_gap(Gap("order-9", None))
    assert absent_ids.possible(["order-8", "order-9", "order-9.1", "zebra", "\U0010ffff"]) == [
        "order-8",
    ]


@pytest.mark.parametrize("inserted", ["a-2", "a-2.1", "a-2.1.1"])
def test_what_memory_has_is_not_in_a_gap(inserted: str) -> None:
    """Nor is what comes before it, or above it."""
    absent_ids = AbsentIds()
    absent_ids.learn_gap(Gap("a-1", "a-9"), {"b"}, {inserted, "a-10"})
    assert absent_ids.possible(["a-1", "a-2", inserted, "a-3"]) == ["a-1", "a-2", inserted]


@pytest.mark.parametrize("inserted", ["a.5", "a.x", "a", "a.5.1"])
def test_a_gap_ends_where_something_is_inserted(inserted: str) -> None:
    """Also one that begins among the descendants of an id, or ends there."""
    absent_ids = AbsentIds()
    absent_ids.learn_gap(Gap("a.2", "b"))
    absent_ids.inserted([inserted])
    assert absent_ids.possible([inserted]) == [inserted]
    assert absent_ids.possible(["a/", "aa"]) == []


def test_a_home_is_new_only_if_its_descendants_are() -> None:
    absent_ids = AbsentIds()
    absent_ids.learn_gap(Gap("a", "a.7"))
    assert absent_ids.possible(["a", "a.8"]) == ["a", "a.8"]


def test_gaps_of_slots_that_come_or_go_are_forgotten() -> None:
    absent_ids = AbsentIds()
    absent_ids.learn_gap(Gap("a", None))
    absent_ids.forget({1})
    assert absent_ids.possible(["a"]) == ["a"]


def test_a_few_gaps_are_known_the_latest() -> None:
    absent_ids = AbsentIds()
    homes = [chr(ord("a") + number) for number in range(GAPS_MAX + 1)]
    for home in homes:
        absent_ids.learn_gap(Gap(f"{home}-1", f"{home}-9"))
        assert absent_ids.possible([f"{home}-1"]) == []
    news = [f"{home}-2" for home in homes]
    assert absent_ids.possible(news) == news[:1]


def test_random_ids_seldom_teach_a_gap() -> None:
    absent_ids = AbsentIds()
    absent_ids.learn_gap(Gap("a", "b"))
    for _ in range(SKIPPED):
        absent_ids.learn_gap(Gap("c", "d"))
    assert absent_ids.possible(["c"]) == ["c"]
    absent_ids.learn_gap(Gap("c", "d"))
    assert absent_ids.possible(["c"]) == []
    # it was of use
    absent_ids.learn_gap(Gap("e", "f"))
    assert absent_ids.possible(["e"]) == []


def test_a_walk_over_what_memory_has_is_bounded() -> None:
    absent_ids = AbsentIds()
    inserted = {str(number) for number in range(WALK_MAX + 1)}
    absent_ids.learn_gap(Gap("a", "b"), inserted)
    assert absent_ids.possible(["a"]) == ["a"]
    inserted.pop()
    absent_ids.learn_gap(Gap("a", "b"), inserted)
    assert absent_ids.possible(["a"]) == []
