"""Homes and slots: what they are for ever, and how evenly homes spread over slots."""

from __future__ import annotations

from collections import Counter
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy_broker.protocol.placement import owners
from understudy_broker.protocol.placement import shared_out as shared_map
from understudy_store.slots import SLOTS, home_of, shared_out, slot_of, slots_of

ids = st.text(st.characters(exclude_categories=["Cs"]) | st.just("."), max_size=12)


def test_slots_never_change() -> None:
    """They are stored, and other processes and other languages work them out too."""
    assert SLOTS == 256
    known = {"order-7": 9, "order-8": 153, "root": 22, "é": 14, "": 0, "part-3": 19}
    assert {home: slot_of(home) for home in known} == known


@given(id_=ids)
def test_a_home_is_the_text_before_the_first_dot(id_: str) -> None:
    home = home_of(id_)
    assert "." not in home
    assert id_ == home or id_.startswith(f"{home}.")
    assert home_of(home) == home
    assert slot_of(id_) == slot_of(home) == crc32(home.encode()) // 2**24
    assert 0 <= slot_of(id_) < SLOTS


@given(id_=ids, more=ids)
def test_everything_below_an_id_shares_its_home(id_: str, more: str) -> None:
    assert home_of(f"{id_}.{more}") == home_of(id_)


@given(st.lists(ids))
def test_the_slots_of_many_are_those_of_each(many: list[str]) -> None:
    assert slots_of(many) == [slot_of(id_) for id_ in many]


@given(beginning=ids, one=st.characters(max_codepoint=127), two=st.characters(max_codepoint=127))
def test_homes_that_differ_in_the_last_byte_have_different_slots(
    beginning: str, one: str, two: str
) -> None:
    if one != two and "." not in (beginning + one + two):
        assert slot_of(beginning + one) != slot_of(beginning + two)


@pytest.mark.parametrize(
    "home",
    ["order-{}", "order-{:06}", "{}-daily", "tenant-{}-nightly", "user{}@example"],
)
def test_counted_homes_spread_evenly(home: str) -> None:
    counts = Counter(slots_of(home.format(number) for number in range(10_000)))
    assert len(counts) == SLOTS
    assert max(counts.values()) <= 1.37 * 10_000 / SLOTS


@given(st.lists(st.text(max_size=4), min_size=1, max_size=9, unique=True))
def test_brokers_and_stores_share_slots_out_alike(names: list[str]) -> None:
    """Otherwise a broker gives away what its store has just given it, for ever."""
    places = shared_out(names)
    assert [names[place] for place in places] == owners(shared_map([(name, "") for name in names]))
    assert max(Counter(places).values()) <= -(-SLOTS // len(names))
