"""Placements in stores: the steps of moves, what brokers learn of each other, and copies of stores.

A random walk moves slots between brokers that know of each other's moves late or never.
"""

from __future__ import annotations

from functools import reduce
from itertools import permutations
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from understudy_broker.protocol.messages import SlotMap
from understudy_broker.protocol.placement import merged, owners, shared_out, versions
from understudy_broker.server import placement as p
from understudy_store.slots import SLOTS

NAMES = "abc"
ADDRESSES = {name: f"tcp://{name}:5577" for name in NAMES}


def of_all() -> dict[str, p.Placement]:
    slots = shared_out(list(ADDRESSES.items()))
    return {name: p.placement_of(slots, "shop", name) for name in NAMES}


def moved(
    stores: dict[str, p.Placement], source: str, to: str, slots: list[int], steps: int = 4
) -> None:
    """Make the first steps of a move, or go on with one that was cut short."""
    staying = [slot for slot in slots if slot in stores[source].own]
    leaving = [slot for slot, way in stores[source].leaving.items() if way.to == to]
    if staying and steps >= 1:
        stores[source] = p.left_behind(stores[source], staying, stores[to])
    if steps >= 2:
        rest = p.not_arrived(stores[to], stores[source], [*staying, *leaving])
        stores[to] = p.arrived(stores[to], stores[source], rest)
    if steps >= 3:
        stores[source] = p.departed(stores[source], stores[to], [*staying, *leaving])
    if steps >= 4:
        stores[to] = p.settled(stores[to], [*staying, *leaving])


Moves = st.lists(
    st.tuples(
        st.sampled_from([(s, t) for s in NAMES for t in NAMES if s != t]),
        st.lists(st.integers(0, 11), min_size=1, max_size=12, unique=True),
        st.integers(1, 4),
    ),
    max_size=20,
)


def check(stores: dict[str, p.Placement]) -> None:
    maps = [store.slots(ADDRESSES) for store in stores.values()]
    for slot in range(SLOTS):
        having = [name for name, store in stores.items() if slot in store.own]
        assert len(having) <= 1
        assert not [n for n in having if slot in stores[n].leaving], "own, and to be deleted"
        having += [name for name, store in stores.items() if slot in store.leaving]
        assert having, f"nobody has slot {slot}"
    found = {tuple(owners(reduce(merged, order))) for order in permutations(maps)}
    truth: list[str | None] = [None] * SLOTS
    for name, store in stores.items():
        for slot in store.own:
            truth[slot] = name
    assert found == {tuple(truth)}
    for name, store in stores.items():
        for other in maps:
            assert p.conflict(store.slots(ADDRESSES), name, other) == []


@settings(max_examples=60, deadline=None)
@given(Moves)
def test_whatever_moves_are_made_or_cut_short_each_slot_has_one_owner_that_all_find(
    moves: list[tuple[tuple[str, str], list[int], int]],
) -> None:
    stores = of_all()
    for (source, to), slots, steps in moves:
        moved(stores, source, to, slots, steps)
        check(stores)


@settings(max_examples=30, deadline=None)
@given(Moves, st.integers(0, 11), st.sampled_from(NAMES))
# Slots that went and came back: no other broker has them, but one knows that they came later.
@example([(("a", "b"), [0], 1), (("c", "b"), [2, 10], 2), (("b", "c"), [2, 10], 3)], 0, "c")
def test_a_copy_of_a_store_from_before_a_move_is_found_out(
    moves: list[tuple[tuple[str, str], list[int], int]], at: int, name: str
) -> None:
    stores = of_all()
    copy = stores[name]
    for number, ((source, to), slots, steps) in enumerate(moves):
        if number <= at:
            copy = stores[name]
        moved(stores, source, to, slots, steps)
    now = stores[name]
    gone = [s for s in copy.own if s not in now.own or now.since[s] != copy.since[s]]
    elsewhere = [slot for slot in gone if any(slot in each.own for each in stores.values())]
    others = [each for each in stores.values() if each.broker != name]
    mine = copy.slots(ADDRESSES)
    found = {slot for each in others for slot in p.conflict(mine, name, each.slots(ADDRESSES))}
    assert found >= set(elsewhere)
    assert found <= set(gone)


def test_the_versions_of_a_slot_grow_with_each_step() -> None:
    stores = of_all()
    [slot, *_] = stores["a"].own
    seen = []
    for steps in (0, 1, 2, 3):
        moved(stores, "a", "b", [slot] if steps == 1 else [], steps)
        seen.append((stores["a"].since[slot], stores["a"].owners[slot]))
    assert seen == [(1, "a"), (2, None), (2, None), (3, "b")]
    assert (stores["b"].since[slot], stores["b"].owners[slot]) == (3, "b")
    assert stores["b"].arrivals == {slot: "a"}
    assert p.settled(stores["b"], [slot]).arrivals == {}


def test_a_broker_that_comes_or_goes_makes_a_newer_map() -> None:
    placement = of_all()["a"]
    assert p.with_brokers(placement, "abc") is placement
    more = p.with_brokers(placement, "abcd")
    assert (more.version, more.brokers) == (2, ("a", "b", "c", "d"))
    assert more.owners == placement.owners
    slots = more.slots({**ADDRESSES, "d": "tcp://d:1"})
    assert dict(slots.brokers)["d"] == "tcp://d:1"
    assert set(versions(slots)) == {1}


def test_slots_move_to_a_broker_of_which_the_source_has_not_heard() -> None:
    stores = of_all()
    stores["d"] = p.with_brokers(
        p.placement_of(shared_out(list(ADDRESSES.items())), "shop", "d"), "abcd"
    )
    own = stores["a"].own
    moved(stores, "a", "b", own[:1])
    moved(stores, "a", "d", own[1:3])
    for name in "ad":
        assert stores[name].brokers == ("a", "b", "c", "d")
        assert [stores[name].owners[slot] for slot in own[:4]] == ["b", "d", "d", "a"]
    check(stores)


def test_moves_of_which_different_brokers_know_are_all_found() -> None:
    """Although both maps have the same version."""
    stores = of_all()
    back, there = stores["b"].own[0], stores["a"].own[0]
    others = of_all()
    moved(stores, "a", "b", [there])
    moved(others, "b", "c", [back])
    one, other = stores["a"].slots(ADDRESSES), others["c"].slots(ADDRESSES)
    assert one.version == other.version
    for found in (owners(merged(one, other)), owners(merged(other, one))):
        assert (found[there], found[back]) == ("b", "c")


def test_two_brokers_with_the_stores_of_single_ones_are_found_out() -> None:
    a, b = (p.sole_placement("shop", name, NAMES) for name in "ab")
    assert p.conflict(a.slots(ADDRESSES), "a", b.slots(ADDRESSES)) == list(range(SLOTS))
    assert p.conflict(b.slots(ADDRESSES), "b", a.slots(ADDRESSES)) == list(range(SLOTS))


def test_an_older_map_contradicts_nobody() -> None:
    stores = of_all()
    old = stores["c"].slots(ADDRESSES)
    moved(stores, "a", "b", stores["a"].own)
    assert p.conflict(stores["b"].slots(ADDRESSES), "b", old) == []


def test_text_and_back() -> None:
    stores = of_all()
    moved(stores, "a", "b", stores["a"].own[:3], steps=1)
    for placement in stores.values():
        assert p.from_text(p.to_text(placement), "x.db") == placement
    assert p.from_text(None, "x.db") is None


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"deployment": 7}'])
def test_a_text_that_is_no_placement_is_refused_in_words(text: str) -> None:
    with pytest.raises(p.PlacementError, match=r"the store x\.db says in a form that is unknown"):
        p.from_text(text, "x.db")


def test_a_placement_of_other_slots_is_refused_in_words() -> None:
    placement = replace(of_all()["a"], owners=("a",))
    with pytest.raises(p.PlacementError, match="of 1 slots"):
        p.from_text(p.to_text(placement), "x.db")


@pytest.mark.parametrize(
    "changes",
    [
        {"brokers": ("a",)},
        {"owners": ("nobody we know",) * SLOTS},
        {"since": (2,) * SLOTS},
        {"since": (-1,) * SLOTS},
    ],
)
def test_a_placement_that_contradicts_itself_is_refused_in_words(changes: dict[str, Any]) -> None:
    placement = replace(of_all()["a"], **changes)
    with pytest.raises(p.PlacementError, match=r"the store x\.db says that .* has slot"):
        p.from_text(p.to_text(placement), "x.db")


def test_a_map_without_versions_of_slots_is_newer_or_older_as_a_whole() -> None:
    first = shared_out(list(ADDRESSES.items()))
    second = SlotMap(2, first.brokers, ((255, 1),))
    assert merged(first, second) is second
    assert merged(second, first) is second
    assert merged(second, second) is second
