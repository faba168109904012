"""Arrivals: a peer joins a broker anew when slots have come there, and not before."""

from __future__ import annotations

from collections.abc import Callable

from understudy_broker.link.arrivals import Arrivals
from understudy_broker.link.routing import Routing
from understudy_broker.link.session import OnReply
from understudy_broker.protocol.messages import NOBODY, AnyCommand, SlotMap
from understudy_store.commands import PromiseGet
from understudy_store.slots import slot_of

BROKERS = (("a", "tcp://a:1"), ("b", "tcp://b:1"))
A, B = 0, 1


class Port:
    """A port to a broker that answers nothing."""

    def request(self, command: AnyCommand, on_reply: OnReply) -> int:
        return 0

    def take_back(
        self, is_wanted: Callable[[AnyCommand], bool]
    ) -> list[tuple[AnyCommand, OnReply]]:
        return []


def all_at(place: int, version: int) -> SlotMap:
    return SlotMap(version, BROKERS, ((255, place),))


class Joined:
    """A peer that has joined a broker which has all slots, and one which has none."""

    def __init__(self) -> None:
        self.a, self.b = Port(), Port()
        self.routing: Routing[Port] = Routing(self.a)
        self.arrivals = Arrivals(self.routing)
        first = all_at(A, 3)
        self.routing.take_map(first, "a")
        self.routing.add("b", self.b)
        self.arrivals.welcomed(self.a, first, "a")
        self.arrivals.welcomed(self.b, first, "b")

    def told(self, name: str, slots: SlotMap) -> frozenset[int]:
        self.routing.take_map(slots)
        return self.arrivals.told(self.a if name == "a" else self.b, slots, name)


def test_slots_have_come_once_their_new_broker_says_so() -> None:
    joined = Joined()
    assert not joined.told("a", all_at(B, 4))
    assert joined.told("b", all_at(B, 5)) == frozenset(range(256))
    assert not joined.told("b", all_at(B, 6))


def test_a_map_that_says_no_more_than_that_of_another_broker_brings_no_slots() -> None:
    """The routes stay as they were, so a hello would leave out the tasks in these slots."""
    joined = Joined()
    assert not joined.told("a", all_at(NOBODY, 4))
    assert not joined.told("b", all_at(B, 4))


def test_a_broker_that_refuses_what_it_says_it_has_contradicts_itself() -> None:
    joined = Joined()
    command = PromiseGet("order-7")
    assert joined.arrivals.contradicts(joined.a, command)
    assert not joined.arrivals.contradicts(joined.b, command)
    runs = ((slot_of("order-7") - 1, A), (slot_of("order-7"), NOBODY), (255, A))
    joined.told("a", SlotMap(4, BROKERS, runs))
    assert not joined.arrivals.contradicts(joined.a, command)
    assert joined.arrivals.contradicts(joined.a, PromiseGet("order-8"))


def test_nothing_comes_to_a_broker_that_was_never_joined_or_is_gone() -> None:
    joined = Joined()
    joined.arrivals.forget(joined.b)
    assert not joined.told("b", all_at(B, 5))
    assert not joined.arrivals.contradicts(joined.b, PromiseGet("order-7"))
