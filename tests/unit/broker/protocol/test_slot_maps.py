"""Maps of slots from the wire: whatever they say, they are understood in one way or refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy_broker.link.routing import Routing
from understudy_broker.link.session import Answer, OnReply
from understudy_broker.protocol.messages import NOBODY, AnyCommand, SlotMap
from understudy_broker.protocol.placement import (
    VERSION_MAX,
    flaw,
    merged,
    owners,
    slot_map,
    versions,
)
from understudy_store.commands import PromiseGet
from understudy_store.slots import SLOTS

A, B = ("a", "tcp://a:5577"), ("b", "tcp://b:5577")
#: numbers at and beyond every bound
NUMBERS = st.one_of(
    st.integers(-2, 5),
    st.integers(SLOTS - 2, SLOTS + 2),
    st.sampled_from([-(2**63), 2**53, 2**53 + 1, 2**63 - 1]),
)
RUNS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=5).map(tuple)
BROKERS = st.lists(
    st.tuples(
        st.sampled_from(["", "a", "b", "c"]),
        st.sampled_from([A[1], B[1], "inproc://c", "ipc:///run/x", "tcp://a", "", "tcp://a:99999"]),
    ),
    max_size=4,
).map(tuple)
ANY = st.builds(SlotMap, NUMBERS, BROKERS, RUNS, RUNS)


@st.composite
def flawless(draw: st.DrawFn) -> SlotMap:
    """A map as some broker might tell it, with slots of nobody."""
    names = draw(st.lists(st.sampled_from("abc"), unique=True, max_size=3))
    brokers = tuple((name, f"tcp://{name}:5577") for name in names)
    version = draw(st.integers(0, 6))
    lasts = st.lists(st.integers(0, SLOTS - 1), unique=True, max_size=4).map(sorted)
    places = st.integers(NOBODY, len(names) - 1)
    runs = tuple((last, draw(places)) for last in draw(lasts))
    since = tuple((last, draw(st.integers(0, version))) for last in draw(lasts))
    return SlotMap(version, brokers, runs, since)


@settings(max_examples=500)
@given(ANY)
def test_whatever_a_map_says_it_is_refused_or_says_one_thing_of_each_slot(slots: SlotMap) -> None:
    if flaw(slots) is not None:
        return
    names, since = owners(slots), versions(slots)
    assert (len(names), len(since)) == (SLOTS, SLOTS)
    again = slot_map(slots.version, dict(slots.brokers), names, since)
    assert (owners(again), versions(again)) == (names, since)
    assert flaw(again) is None


@settings(max_examples=300)
@given(flawless())
def test_what_a_broker_may_say_is_not_refused(slots: SlotMap) -> None:
    assert flaw(slots) is None


@pytest.mark.parametrize(
    ("slots", "said"),
    [
        (SlotMap(-1, (A,), ()), "its version is -1"),
        (SlotMap(VERSION_MAX + 1, (A,), ()), "its version is"),
        (SlotMap(1, (A, A), ()), "no names of their own: ['a', 'a']"),
        (SlotMap(1, (("", A[1]),), ()), "no names of their own"),
        (SlotMap(1, (("a", "tcp://a"),), ()), "the address of the broker 'a' is 'tcp://a'"),
        (SlotMap(1, (A, B), ((99, 0), (9, 1))), "a run of slots ends with 9 after one that ends"),
        (SlotMap(1, (A, B), ((99, 0), (99, 1))), "a run of slots ends with 99"),
        (SlotMap(1, (A, B), ((256, 0),)), "a run of slots ends with 256"),
        (SlotMap(1, (A, B), ((-1, 0),)), "a run of slots ends with -1"),
        (SlotMap(1, (A, B), ((255, 2),)), "that of broker 2, and there are 2"),
        (SlotMap(1, (A, B), ((255, -2),)), "that of broker -2"),
        (SlotMap(1, (A, B), ((255, 0),), ((9, 1), (9, 1))), "a run of versions of slots ends"),
        (SlotMap(1, (A, B), ((255, 0),), ((9, 2),)), "up to 9 have version 2, and the map 1"),
        (SlotMap(1, (A, B), ((255, 0),), ((9, -1),)), "up to 9 have version -1"),
    ],
)
def test_what_is_wrong_is_said(slots: SlotMap, said: str) -> None:
    assert said in str(flaw(slots))


@settings(max_examples=500)
@given(flawless(), flawless())
def test_two_maps_become_one_in_which_the_greater_version_of_each_slot_counts(
    known: SlotMap, other: SlotMap
) -> None:
    found = merged(known, other)
    assert flaw(found) is None
    assert found.version == max(known.version, other.version)
    rows = zip(
        *(each(slots) for slots in (known, other, found) for each in (owners, versions)),
        strict=True,
    )
    for mine, my_version, its, its_version, name, version in rows:
        assert version == max(my_version, its_version)
        # With equal versions they contradict each other, or say the same.
        if my_version == its_version:
            assert name in (mine, its)
        else:
            assert name == (mine if my_version > its_version else its)
    assert merged(found, known) is found
    assert merged(found, other) is found


class Port:
    """A port that keeps what it is sent."""

    def __init__(self) -> None:
        self.open: list[tuple[AnyCommand, OnReply]] = []

    def request(self, command: AnyCommand, on_reply: OnReply) -> int:
        self.open.append((command, on_reply))
        return 0

    def take_back(self, is_wanted: object) -> list[tuple[AnyCommand, OnReply]]:
        assert callable(is_wanted)
        taken = [each for each in self.open if is_wanted(each[0])]
        self.open = [each for each in self.open if each not in taken]
        return taken


def never(_: Answer) -> None:
    raise AssertionError("nothing was answered")


@settings(max_examples=300)
@given(st.lists(flawless(), min_size=1, max_size=6))
def test_after_any_maps_each_request_is_at_one_broker_or_waits(maps: list[SlotMap]) -> None:
    ids = [f"p{n}" for n in range(20)]
    first = Port()
    routing = Routing(first)
    for id_ in ids:
        routing.request(PromiseGet(id_), never)
    ports = {"a": first}
    for slots in maps:
        routing.take_map(slots, "a")
        assert routing.slots is not None
        for name, _ in routing.slots.brokers:
            if name not in ports:
                ports[name] = Port()
                routing.add(name, ports[name])
        there = [command for port in ports.values() for command, _ in port.open]
        assert len(there) + routing.waiting == len(ids)
        assert len({*there}) == len(there)


@settings(max_examples=300)
@given(flawless(), flawless())
def test_of_two_maps_with_one_version_the_first_one_stays(one: SlotMap, other: SlotMap) -> None:
    """They differ only by a mistake of a broker; a peer must not go from one to the other."""
    one, other = (SlotMap(one.version, each.brokers, each.runs) for each in (one, other))
    routing: Routing[Port] = Routing(Port())
    assert routing.take_map(one, "a")
    for _ in range(3):
        assert not routing.take_map(other)
        assert not routing.take_map(one)
    assert routing.slots is one
