"""Ids of calls far down: bounded, different, deterministic, and found by the root's id."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from understudy_actors.interpreter.child_ids import HOME_CHARS_MAX, KEPT_CHARS, child_id, id_at
from understudy_store.limits import ID_CHARS_MAX
from understudy_store.slots import home_of


def test_a_chain_of_thousands_has_bounded_and_different_ids() -> None:
    ids = ["tick"]
    for _ in range(5000):
        ids.append(child_id(ids[-1], 1))
    assert len(set(ids)) == len(ids)
    assert max(map(len, ids)) <= ID_CHARS_MAX
    assert all(id.startswith("tick") for id in ids)
    assert ids[3] == "tick.1.1.1"
    readable = [id for id in ids if "~" not in id]
    assert max(map(len, readable)) > ID_CHARS_MAX - 2, "an id is shortened only if it must be"


@given(st.text(min_size=1, max_size=ID_CHARS_MAX), st.integers(1, 10**9), st.integers(1, 10**9))
def test_any_parent(parent: str, one: int, other: int) -> None:
    id = child_id(parent, one)
    assert len(id) <= ID_CHARS_MAX
    assert id == child_id(parent, one)
    assert (id == child_id(parent, other)) == (one == other)
    assert id.startswith(parent[:KEPT_CHARS])
    assert id.endswith(f".{one}")


@given(st.integers(1, 200))
def test_callers_that_differ_only_at_the_end(length: int) -> None:
    head = "x" * (ID_CHARS_MAX - length)
    assert child_id(head + "a" * length, 1) != child_id(head + "b" * length, 1)


homes = st.text(st.characters(exclude_characters="."), min_size=1, max_size=HOME_CHARS_MAX)


@given(homes, st.lists(st.integers(1, 10**6), max_size=300))
def test_a_child_has_the_home_of_its_caller_however_far_down(home: str, numbers: list[int]) -> None:
    id = home
    for number in numbers:
        id = child_id(id, number)
    assert home_of(id) == home


@given(homes, homes, st.text("ab.~1", max_size=ID_CHARS_MAX - HOME_CHARS_MAX - 1))
def test_an_id_at_another_home(home: str, other: str, rest: str) -> None:
    id = f"{other}.{rest}"
    moved = id_at(home, id)
    assert home_of(moved) == home
    assert len(moved) <= ID_CHARS_MAX
    assert moved == id_at(home, id)
    assert moved == id if home == other else moved != id_at(home, f"{id}.1")


def test_the_longest_home_is_kept_where_ids_are_shortened() -> None:
    home = "x" * HOME_CHARS_MAX
    id = home
    for _ in range(300):
        id = child_id(id, 1)
    assert "~" in id
    assert home_of(id) == home
    moved = id_at(home, "order-7" + ".1" * 200)
    assert "~" in moved
    assert home_of(moved) == home


def test_a_home_that_is_too_long_is_not_that_of_calls_far_down() -> None:
    """So no option takes one; a root may have it, as it always could."""
    home = "x" * KEPT_CHARS
    deep = home
    while "~" not in deep:
        deep = child_id(deep, 1)
    assert home_of(deep) != home
