"""What is said not to be in the store is not there, whatever was inserted, learned, forgotten."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy_store.engines.journaled.absent_ids import (
    CHARS_MAX,
    DOTS_MAX,
    KNOWN_MAX,
    AbsentIds,
    beyond_descendants,
)
from understudy_store.engines.journaled.gaps import Gap
from understudy_store.slots import slot_of

#: after a dot; what Python takes for a number is one here, too
_PLAIN: Final = ("1", "2", "3", "10", "11")
_STRANGE: Final = (
    *("01", "+1", "1_0", " 2", "-1", "-2", "0", "", "x", "1-", "1!", "1/", "٣", "²", "9" * 30),
)
_ids = st.builds(
    lambda root, rest: ".".join([root, *rest]),
    st.sampled_from(["a", "a", "a", "a", "a", "a", "a-1", "a!", "a/", "7", ""]),
    st.lists(st.sampled_from(_PLAIN) | st.sampled_from(_STRANGE), max_size=3)
    | st.lists(st.sampled_from(_PLAIN), max_size=2),
)


class _Insert(NamedTuple):
    ids: list[str]


class _Learn(NamedTuple):
    """If it is true."""

    id_: str


class _LearnGap(NamedTuple):
    """From an id up to the next that is in the table, with what only memory has in it."""

    id_: str
    in_memory: list[str]


class _Ask(NamedTuple):
    ids: list[str]


class _Forget(NamedTuple):
    """The slot of an id leaves, and comes back with more ids."""

    id_: str
    ids: list[str]


_Step: TypeAlias = _Insert | _Learn | _LearnGap | _Ask | _Forget


@st.composite
def _scripts(draw: st.DrawFn) -> tuple[list[str], list[_Step]]:
    """A few ids with all that is above them, and what happens to them."""
    drawn = draw(st.lists(_ids, min_size=2, max_size=6))
    cut = [id_[:at] for id_ in drawn for at, each in enumerate(id_) if each == "."]
    universe = sorted({*drawn, *cut})
    ids = st.sampled_from(universe)
    some = st.lists(ids, min_size=1, max_size=4)
    learn = st.builds(_Learn, ids)
    steps: st.SearchStrategy[_Step] = st.one_of(
        *(st.builds(_Insert, some), st.builds(_Insert, some), learn),
        *(st.builds(_Ask, some), st.builds(_Forget, ids, some)),
        *(st.builds(_LearnGap, ids, some), st.builds(_LearnGap, ids, some)),
    )
    first: list[_Step] = [*draw(st.lists(learn, max_size=3))]
    return universe, first + draw(st.lists(steps, max_size=20))


def _has_descendants(inserted: set[str], id_: str) -> bool:
    return any(each.startswith(f"{id_}.") for each in inserted)


@settings(max_examples=400, deadline=None)
@given(script=_scripts(), known_max=st.sampled_from([1, 2, 3, 5, 8, KNOWN_MAX]))
def test_what_is_left_out_was_not_inserted(
    script: tuple[list[str], list[_Step]], known_max: int
) -> None:
    universe, steps = script
    absent_ids = AbsentIds(known_max)
    inserted: set[str] = set()
    for step in steps:
        match step:
            case _Insert(ids):
                inserted.update(ids)
                above = absent_ids.inserted(ids)
                assert above == {
                    id_ for id_ in {*above, *universe} if id_ and _has_descendants(set(ids), id_)
                }
            case _Learn(id_):
                if not _has_descendants(inserted, id_):
                    absent_ids.learn(id_)
            case _LearnGap(id_, in_memory):
                table = [each for each in inserted if each >= id_ and each not in in_memory]
                absent_ids._gaps._to_skip = 0
                gap = Gap(id_, min(table, default=None))
                absent_ids.learn_gap(gap, inserted & set(in_memory))
            case _Ask(ids):
                left = absent_ids.possible(ids)
                assert left == [id_ for id_ in ids if id_ in left]
                assert inserted.isdisjoint(set(ids) - set(left))
            case _Forget(id_, ids):
                absent_ids.forget({slot_of(id_)})
                inserted.update(each for each in ids if slot_of(each) == slot_of(id_))
    assert inserted <= set(absent_ids.possible(universe))


def test_nothing_is_left_out_before_something_is_known() -> None:
    absent_ids = AbsentIds()
    absent_ids.inserted(["a", "a.1"])
    assert absent_ids.possible(["a", "a.1", "a.2", "b"]) == ["a", "a.1", "a.2", "b"]
    absent_ids.learn("b")
    assert absent_ids.possible(["a", "a.1", "a.2", "b", "c.1"]) == ["a", "a.1", "a.2", "b", "c.1"]


def test_the_next_children_are_left_out() -> None:
    absent_ids = AbsentIds()
    absent_ids.learn("a")
    absent_ids.inserted(["a"])
    for number in range(1, 12):
        assert absent_ids.possible([f"a.{number}", f"a.{number}.1", f"a.{number + 1}"]) == []
        absent_ids.inserted([f"a.{number}"])
        assert absent_ids.possible([f"a.{number}"]) == [f"a.{number}"]
    # also where a smaller one comes later
    absent_ids.inserted(["a.20"])
    absent_ids.inserted(["a.15"])
    assert absent_ids.possible(["a.15", "a.19", "a.20", "a.21"]) == ["a.15", "a.19", "a.20"]
    # a row of its own
    absent_ids.inserted(["a.5.1", "a.5.3", "a.5.2"])
    assert absent_ids.possible(["a.5.1", "a.5.2", "a.5.3", "a.5.4", "a.6.1"]) == [
        *("a.5.1", "a.5.2", "a.5.3"),
    ]


def test_one_that_was_learned_later_knows_no_less() -> None:
    """Of what has two known ids above it, both know; so one of them may be forgotten."""
    absent_ids = AbsentIds(5)
    absent_ids.learn("a")
    absent_ids.learn("a.1")
    absent_ids.inserted(["a.1.1"])
    assert absent_ids.possible(["a.1.1", "a.1.2", "a.2"]) == ["a.1.1"]
    absent_ids.learn("b")
    # now "a" is in doubt, and "a.1" is not
    absent_ids.learn("c")
    assert absent_ids.possible(["a.1.1", "a.1.2", "a.2"]) == ["a.1.1", "a.2"]


@pytest.mark.parametrize("id_", ["a.07", "a.+7", "a.0_7", "a. 7", "a.7", "a.٧"])
def test_other_spellings_of_a_number(id_: str) -> None:
    """Each hides the others; none of them hides what is there."""
    absent_ids = AbsentIds()
    absent_ids.learn("a")
    absent_ids.inserted([id_])
    assert absent_ids.possible([id_, "a.8"]) == [id_]


@pytest.mark.parametrize("id_", ["a.x", "a.", "a.0", "a.-1", "a.1-", "a..", "a." + "9" * 10_000])
def test_what_has_no_number_is_never_left_out(id_: str) -> None:
    absent_ids = AbsentIds()
    absent_ids.learn("a")
    assert absent_ids.possible([id_]) == [id_]
    assert absent_ids.inserted([id_]) >= {"a"}
    assert absent_ids.possible([id_]) == [id_]
    absent_ids.inserted(["a.1"])
    assert absent_ids.possible([id_, "a.1", "a.2"]) == [id_, "a.1"]


def test_a_number_without_a_parent_is_no_child() -> None:
    """Nor is what begins with a dot: nothing is above it."""
    absent_ids = AbsentIds()
    absent_ids.inserted(["7", ".7"])
    for id_ in ("", "7", ".7"):
        absent_ids.learn(id_)
    assert absent_ids.possible(["7", "8", ".7", ".8"]) == ["7", "8", ".7", ".8"]


def test_the_oldest_are_forgotten() -> None:
    """So many are kept, counted with their parents."""
    absent_ids = AbsentIds(4)
    for root in ("a", "b", "c", "d"):
        absent_ids.learn(root)
    news = ["a.1", "b.1", "c.1", "d.1", "e.1", "f.1"]
    assert absent_ids.possible(news) == ["e.1", "f.1"]
    absent_ids.learn("e")
    assert absent_ids.possible(news) == ["a.1", "f.1"]
    # a parent takes a place
    absent_ids.inserted(["e.1"])
    assert absent_ids.possible(news) == ["a.1", "b.1", "e.1", "f.1"]
    # but only once
    for number in range(2, 20):
        absent_ids.inserted([f"e.{number}"])
    assert absent_ids.possible(["c.1", "d.1", "e.19", "e.20"]) == ["e.19"]
    # and leaves it with the one that was known
    for root in ("f", "g", "h", "i"):
        absent_ids.learn(root)
    assert absent_ids.possible(["e.20", "f.1", "g.1", "h.1", "i.1"]) == ["e.20"]


def test_one_with_more_children_than_are_kept_is_forgotten() -> None:
    absent_ids = AbsentIds(3)
    absent_ids.learn("a")
    absent_ids.inserted(["a.1.1", "a.2.1", "a.3.1", "a.4.1"])
    assert absent_ids.possible(["a.1.1", "a.1.2", "a.5"]) == ["a.1.1", "a.1.2", "a.5"]
    absent_ids.learn("b")
    assert absent_ids.possible(["b.1"]) == []


def test_a_slot_that_leaves_is_forgotten_and_no_other() -> None:
    """With the places that its ids took."""
    absent_ids = AbsentIds(4)
    for known in ("a", "b", "a.1"):
        absent_ids.learn(known)
    absent_ids.inserted(["a.2"])
    absent_ids.forget({slot_of("a")})
    assert absent_ids.possible(["a.3", "a.1.1", "b.1"]) == ["a.3", "a.1.1"]
    for known in ("c", "d", "e"):
        absent_ids.learn(known)
    assert absent_ids.possible(["b.1", "c.1", "d.1", "e.1"]) == []


def test_what_is_long_or_deep_is_not_learned() -> None:
    """Anybody may ask for it, as often as he likes: it may cost neither memory nor time."""
    longest, deepest = "a" * CHARS_MAX, "a" + ".1" * DOTS_MAX
    for last in (longest, deepest):
        absent_ids = AbsentIds()
        absent_ids.learn(last)
        assert absent_ids.possible([f"{last}.1"]) == []
        assert last in absent_ids.inserted([f"{last}.1"])
        assert absent_ids.possible([f"{last}.1", f"{last}.2"]) == [f"{last}.1"]
    for beyond in (f"a{longest}", f"{deepest}.1", "." * 1_000_000):
        absent_ids = AbsentIds(1)
        absent_ids.learn("b")
        absent_ids.learn(beyond)
        assert absent_ids.possible([f"{beyond}.1", "b.1"]) == [f"{beyond}.1"]
        above = absent_ids.inserted([f"{beyond}.1"])
        assert len(above) <= DOTS_MAX + 1
        assert all(len(id_) <= CHARS_MAX for id_ in above)


def test_what_is_deep_is_known_from_above() -> None:
    absent_ids = AbsentIds()
    absent_ids.learn("a")
    deep = "a" + ".1" * 3 * DOTS_MAX
    assert absent_ids.possible([deep]) == []
    absent_ids.inserted([deep])
    assert absent_ids.possible([deep, f"{deep}.1"]) == [deep]


@given(id_=_ids, other=_ids)
def test_descendants_are_in_one_piece(id_: str, other: str) -> None:
    """In the order of their bytes, which is the store's, all are before what is beyond them."""
    first, end, each = id_.encode(), beyond_descendants(id_).encode(), other.encode()
    if other.startswith(f"{id_}."):
        assert first < each < end
    assert (f"{id_}.".encode() <= each < end) == other.startswith(f"{id_}.")
