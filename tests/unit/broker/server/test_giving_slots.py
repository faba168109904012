"""`Sharing` over a store that a test answers for: when slots are given away, and when they stay."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from tests.unit.broker.core.rig import Rig
from understudy_broker.protocol.messages import SlotMap
from understudy_broker.server.sharing import REST_S, WENT, Sharing
from understudy_store.changes import Snapshot
from understudy_store.engines.shared import Holdings
from understudy_store.slots import SLOTS

ME, OTHER = 1, 2
A, B = (ME, "a", "tcp://a:1"), (OTHER, "b", "tcp://b:1")


class Share:
    """The part of an engine that knows who has which slots."""

    writer = ME

    def __init__(self) -> None:
        self.tell: Callable[[Holdings], None] = print

    def watch_holdings(self, on_change: Callable[[Holdings], None]) -> None:
        self.tell = on_change

    def is_fresh(self) -> bool:
        return True

    def numbers(self) -> dict[str, int]:
        return {}


class Store:
    """The threads of a store, which answer when a test says so."""

    def __init__(self) -> None:
        self.loads: list[tuple[Collection[int], Callable[[Any], None]]] = []
        self.gifts: list[tuple[dict[int, int], bool, Callable[[Any], None]]] = []

    def load_slots(self, slots: Collection[int], on_done: Callable[[Any], None]) -> None:
        self.loads.append((slots, on_done))

    def hand_over(
        self, slots: Mapping[int, int], on_done: Callable[[Any], None], *, leaving: bool = False
    ) -> None:
        self.gifts.append((dict(slots), leaving, on_done))


class World:
    """A broker that has all slots."""

    def __init__(self) -> None:
        self.rig = Rig(name="a", slots=SlotMap(0, (("a", "tcp://a:1"),), ()))
        self.store, self.share = Store(), Share()
        self.logged: list[tuple[str, Mapping[str, Any]]] = []
        self.sharing = Sharing(
            self.store,  # type: ignore[arg-type]  # as much of it as is used
            self.share,  # type: ignore[arg-type]
            self.rig.core,
            lambda: self.rig.now,
            lambda _level, text, fields: self.logged.append((text, fields)),
            lambda: None,
        )
        self.owners: list[int | None] = [ME] * SLOTS
        self.version = SLOTS
        self.share.tell(self.holdings(A))
        self.turn()
        self.load()

    def holdings(self, *brokers: tuple[int, str, str]) -> Holdings:
        return Holdings(self.version, brokers, tuple(self.owners))

    def turn(self) -> None:
        self.sharing.turn()
        self.rig.turn()
        self.sharing.turn()

    def load(self) -> None:
        _, on_done = self.store.loads.pop()
        on_done(Snapshot(now=self.rig.now))
        self.turn()

    def take_gift(self) -> None:
        """Let the other broker have what is given, as the database has it then."""
        gift, _, on_done = self.store.gifts.pop()
        for slot, writer in gift.items():
            self.owners[slot] = writer
        self.version += len(gift)
        on_done(self.holdings(B))
        self.turn()


def test_slots_that_nobody_could_be_given_stay_for_a_while() -> None:
    world = World()
    world.share.tell(world.holdings(A, B))
    world.turn()
    [(gift, _, on_done)] = world.store.gifts
    on_done(world.holdings(A, B))
    world.store.gifts.clear()
    world.turn()
    world.load()
    assert not [text for text, _ in world.logged if text == WENT]
    assert not world.store.gifts, "they are performed again, and not given up at once"
    assert world.rig.core.moves is not None
    assert not world.rig.core.moves.leaving
    assert 0 < world.sharing.pause_s() <= REST_S
    world.rig.now += round(REST_S * 1000)
    world.turn()
    assert [each for each, _, _ in world.store.gifts] == [gift]


def test_a_broker_that_leaves_asks_the_database_who_is_there() -> None:
    """One that has joined a moment ago is nowhere in what it knows."""
    world = World()
    world.sharing.leave()
    assert not world.sharing.has_left
    world.turn()
    gift, leaving, on_done = world.store.gifts.pop()
    assert (gift, leaving) == ({}, True)
    assert not world.sharing.has_left
    on_done(world.holdings(B))
    world.turn()
    assert not world.sharing.has_left
    world.take_gift()
    assert world.sharing.has_left


def test_a_broker_that_leaves_nobody_behind_has_left_then() -> None:
    world = World()
    world.sharing.leave()
    world.turn()
    _, _, on_done = world.store.gifts.pop()
    on_done(world.holdings())
    world.turn()
    assert world.sharing.has_left
