"""What a broker of a shared store tells its peers while slots come and go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import pairwise
from typing import cast

import pytest

from tests.unit.broker.core.rig import Rig
from understudy_broker.protocol.messages import NOBODY, SlotMap, Slots
from understudy_broker.protocol.placement import merged, owners
from understudy_broker.server.sharing import Sharing
from understudy_store.changes import Snapshot
from understudy_store.engines.shared import Holdings, SharedEngine
from understudy_store.errors import StoreFailedError
from understudy_store.slots import SLOTS, shared_out
from understudy_store.store import HandOverResult, SlotsResult, Store

#: this broker, and another one
MINE, OTHER = 1, 2
BROKERS = ((MINE, "a", "tcp://a:1"), (OTHER, "b", "tcp://b:1"))
#: what each of the two ends up with
SHARES = [MINE if place == 0 else OTHER for place in shared_out(["a", "b"])]


class Database:
    """A store and its share, which answer when the test has them answer."""

    writer = MINE

    def __init__(self) -> None:
        self.slots = [MINE] * SLOTS
        self.version = SLOTS
        self.load: Callable[[SlotsResult], None] | None = None
        self.gift: tuple[Mapping[int, int], Callable[[HandOverResult], None]] | None = None

    def numbers(self) -> dict[str, int]:
        return {}

    def holdings(self) -> Holdings:
        return Holdings(self.version, BROKERS, tuple(self.slots))

    def watch_holdings(self, on_change: Callable[[Holdings], None]) -> None:
        self.on_change = on_change

    def load_slots(self, slots: Collection[int], on_done: Callable[[SlotsResult], None]) -> None:
        self.load = on_done

    def hand_over(
        self,
        slots: Mapping[int, int],
        on_done: Callable[[HandOverResult], None],
        *,
        leaving: bool = False,
    ) -> None:
        self.gift = slots, on_done

    def answer(self) -> bool:
        """Do what was asked for; return whether there was anything."""
        load, gift = self.load, self.gift
        self.load = self.gift = None
        if load is not None:
            load(Snapshot(0, [], [], [], [], []))
        if gift is not None:
            given, on_done = gift
            for slot, writer in given.items():
                self.slots[slot] = writer
            self.version += len(given)
            on_done(self.holdings())
        return bool(load or gift)


class Broker(Rig):
    """A core with its sharing, and one peer that hears of each map."""

    def __init__(self, database: Database) -> None:
        super().__init__(name="a", slots=SlotMap(0, (("a", "tcp://a:1"),), ((SLOTS - 1, NOBODY),)))
        self.join(b"u", "user", kind="client", group="users")
        self.inbox = {}
        self.logged: list[str] = []
        self.sharing = Sharing(
            cast(Store, database),
            cast(SharedEngine, database),
            self.core,
            lambda: self.now,
            lambda level, text, _: self.logged.append(f"{level}: {text}"),
            lambda: None,
        )
        database.on_change(database.holdings())

    def go_on(self) -> list[SlotMap]:
        """Make a turn of the loop; return the maps that the peer hears of in it."""
        self.sharing.turn()
        self.turn()
        return [each.slots for each in self.inbox.pop(b"u", []) if isinstance(each, Slots)]


def shared_out_anew() -> Iterator[tuple[Broker, list[SlotMap]]]:
    """Each turn of a broker that loads all slots, and then gives the other one its share."""
    database = Database()
    broker = Broker(database)
    idle = 0
    while idle < 3:
        yield broker, broker.go_on()
        idle = 0 if database.answer() else idle + 1
    assert database.slots == SHARES


def test_of_two_maps_in_a_row_each_has_a_version_of_its_own() -> None:
    """A peer takes the second one for no news, and waits for slots that are here long since."""
    told = [slots for _, maps in shared_out_anew() for slots in maps]
    assert [name == "a" for name in owners(told[-1])] == [each == MINE for each in SHARES]
    for one, other in pairwise(told):
        assert one.version != other.version


def test_a_peer_knows_of_each_slot_that_is_here() -> None:
    known: SlotMap | None = None
    for broker, maps in shared_out_anew():
        for slots in maps:
            known = slots if known is None else merged(known, slots)
        assert known is not None
        plan = broker.sharing._plan
        here = {slot for slot, name in enumerate(owners(known)) if name == "a"}
        assert here >= plan.mine - plan._giving.keys()


@pytest.mark.parametrize("answers", [True, False])
def test_a_broker_that_ends_says_whether_it_has_slots_left(answers: bool) -> None:
    database = Database()
    broker = Broker(database)
    broker.go_on()
    database.answer()
    broker.go_on()
    broker.sharing.leave()
    for _ in range(30):
        broker.go_on()
        if answers:
            database.answer()
    broker.sharing.tell_what_is_left()
    assert broker.sharing.has_left == answers
    assert ("warning: ends with slots" in broker.logged[-1]) != answers


def test_a_load_that_fails_stops_the_broker() -> None:
    database = Database()
    broker = Broker(database)
    broker.go_on()
    assert database.load is not None
    database.load(StoreFailedError("the disk is full"))
    with pytest.raises(StoreFailedError, match="the disk is full"):
        broker.go_on()
