"""The plan of each broker of a shared store: nobody has a slot twice, and all have their shares."""

from __future__ import annotations

from random import Random

import pytest

from understudy_broker.core import slot_plan
from understudy_broker.core.slot_plan import GIFT_SLOTS_MAX, SlotPlan
from understudy_broker.protocol.messages import SlotMap
from understudy_broker.protocol.placement import owners, shared_out
from understudy_store.engines.shared import Holdings
from understudy_store.slots import SLOTS
from understudy_store.slots import shared_out as places_shared_out


def holdings(version: int, slots: dict[int, int], *names: str) -> Holdings:
    """Holdings in which broker number n, from 1 on, is writer n."""
    brokers = tuple((n, name, f"tcp://{name}:1") for n, name in enumerate(names, 1))
    return Holdings(version, brokers, tuple(slots.get(slot) for slot in range(SLOTS)))


def everything(writer: int) -> dict[int, int]:
    return dict.fromkeys(range(SLOTS), writer)


def loaded(plan: SlotPlan) -> SlotPlan:
    plan.next_load()
    plan.loaded()
    return plan


def told(plan: SlotPlan) -> SlotMap:
    slots = plan.slot_map()
    assert slots is not None
    return slots


class TestOneBroker:
    def test_it_knows_nothing_at_first(self) -> None:
        plan = SlotPlan(1)
        assert (plan.slot_map(), plan.next_load(), plan.next_gift()) == (None, frozenset(), {})

    def test_it_loads_what_is_its_own_and_then_says_so(self) -> None:
        plan = SlotPlan(1)
        assert plan.take(holdings(4, everything(1), "a"))
        assert {*owners(told(plan))} == {None}
        assert plan.next_load() == {*range(SLOTS)}
        assert not plan.next_load(), "one load at a time"
        before = told(plan).version
        assert plan.loaded() == {*range(SLOTS)}
        assert told(plan).version > before
        assert {*owners(told(plan))} == {"a"}
        assert (plan.next_load(), plan.next_gift()) == (frozenset(), {})

    def test_older_holdings_are_no_news(self) -> None:
        plan = SlotPlan(1)
        plan.take(holdings(4, everything(1), "a"))
        assert not plan.take(holdings(3, {}, "a"))
        assert not plan.take(holdings(4, everything(1), "a"))
        assert plan.take(holdings(4, everything(1), "a", "b"))

    def test_nobody_is_there_to_take_the_slots_of_one_that_leaves(self) -> None:
        plan = SlotPlan(1)
        plan.take(holdings(4, everything(1), "a"))
        loaded(plan).leave()
        assert plan.next_gift() == {}

    def test_peers_are_told_of_one_that_leaves_while_nobody_else_has_its_slots(self) -> None:
        """Who knows of no broker finds none again."""
        plan = SlotPlan(1)
        plan.take(holdings(4, everything(1), "a"))
        loaded(plan).leave()
        plan.take(Holdings(4, (), tuple(everything(1).values())))
        assert told(plan).brokers == (("a", "tcp://a:1"),)
        assert {*owners(told(plan))} == {"a"}
        plan.take(Holdings(5, (), (None,) * SLOTS))
        assert told(plan).brokers == (("a", "tcp://a:1"),)
        plan.take(holdings(6, everything(2), "b", "b")._replace(brokers=((2, "b", "tcp://b:1"),)))
        assert told(plan).brokers == (("b", "tcp://b:1"),)

    def test_what_follows_from_the_holdings_is_worked_out_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A broker asks at each turn of its loop."""
        asked: list[list[str]] = []

        def counted(names: list[str]) -> list[int]:
            asked.append(names)
            return places_shared_out(names)

        monkeypatch.setattr(slot_plan, "shared_out", counted)
        plan = SlotPlan(1)
        plan.take(holdings(4, everything(1), "a"))
        loaded(plan)
        for _ in range(10):
            assert (plan.next_load(), plan.next_gift()) == (frozenset(), {})
            assert plan.slot_map() is plan.slot_map()
        assert asked == [["a"]]

    def test_what_is_taken_away_is_lost(self) -> None:
        plan = SlotPlan(1)
        plan.take(holdings(4, everything(1), "a"))
        loaded(plan)
        assert not plan.lost
        plan.take(holdings(5, {**everything(1), 7: 2}, "a", "b"))
        assert plan.lost == {7}

    def test_nothing_is_worked_out_again_before_something_changes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is asked in each turn of the broker's loop, thousands of times in a second."""
        plan = SlotPlan(1)
        plan.take(holdings(4, everything(1), "a"))
        loaded(plan)
        assert (plan.next_gift(), told(plan).version) == ({}, 9)
        looked: list[object] = []
        for name in ("shared_out", "runs_of"):
            monkeypatch.setattr(slot_plan, name, looked.append)
        for _ in range(9):
            assert not plan.take(holdings(4, everything(1), "a"))
            assert (plan.next_load(), plan.next_gift(), plan.has_gifts) == (frozenset(), {}, False)
            assert told(plan).version == 9
        assert not looked


class TestTwoBrokers:
    def test_one_that_joins_gets_its_share_in_parts(self) -> None:
        plan = SlotPlan(1)
        plan.take(holdings(4, everything(1), "a"))
        loaded(plan)
        slots = everything(1)
        plan.take(holdings(4, slots, "a", "b"))
        given: dict[int, int] = {}
        version = 4
        while gift := plan.next_gift():
            assert len(gift) <= GIFT_SLOTS_MAX
            assert plan.next_gift() == {}, "one gift at a time"
            assert not {*gift} & {slot for slot, name in enumerate(owners(told(plan))) if name}
            slots |= gift
            given |= gift
            version += len(gift)
            plan.take(holdings(version, slots, "a", "b"))
            assert not plan.lost
            plan.given()
        share = owners(shared_out([("a", ""), ("b", "")]))
        assert {*given} == {slot for slot in range(SLOTS) if share[slot] == "b"}
        assert plan.mine == {*range(SLOTS)} - {*given}
        assert owners(told(plan)) == share

    @pytest.mark.parametrize(
        ("pending", "count"),
        [(0, 16), (2_000, 16), (20_000, 12), (32_000, 8), (128_000, 8), (10**9, 8)],
    )
    def test_the_more_there_is_the_smaller_are_the_parts_but_not_too_small(
        self, pending: int, count: int
    ) -> None:
        plan = SlotPlan(1)
        plan.take(holdings(4, dict.fromkeys(range(128), 1), "a", "b"))
        assert len(loaded(plan).next_gift(pending)) == count

    def test_a_part_has_a_slot_at_least(self) -> None:
        plan = SlotPlan(1)
        others = shared_out([("a", ""), ("b", "")])
        [slot] = [slot for slot, name in enumerate(owners(others)) if name == "b"][:1]
        plan.take(holdings(4, {slot: 1}, "a", "b"))
        assert loaded(plan).next_gift(10**6) == {slot: 2}

    def test_what_comes_meanwhile_is_loaded_after_that(self) -> None:
        plan = SlotPlan(1)
        plan.take(holdings(4, {**everything(1), 7: 2}, "a", "b"))
        gift = loaded(plan).next_gift()
        assert gift
        assert 7 not in gift
        plan.take(holdings(5, everything(1), "a", "b"))
        assert not plan.next_load()
        plan.given()
        assert plan.next_load() == {7, *gift}

    def test_one_that_leaves_gives_all_of_it_at_once(self) -> None:
        plan = SlotPlan(1)
        plan.take(holdings(4, everything(1), "a", "b", "c"))
        loaded(plan).leave()
        gift = plan.next_gift()
        assert {*gift} == {*range(SLOTS)}
        assert {*gift.values()} == {2, 3}

    def test_a_gift_that_was_not_taken_is_loaded_again(self) -> None:
        plan = SlotPlan(1)
        plan.take(holdings(4, everything(1), "a", "b"))
        gift = loaded(plan).next_gift()
        assert plan.given() == 0
        assert plan.next_load() == {*gift}

    def test_the_later_of_two_with_one_name_counts(self) -> None:
        plan = SlotPlan(2)
        plan.take(holdings(4, {0: 1, 1: 2}, "a", "a"))
        assert loaded(plan).mine == {1}
        assert owners(told(plan))[:2] == [None, "a"]


class Database:
    """What a database does: writers, and slots that one of them has."""

    def __init__(self) -> None:
        self.alive: dict[int, str] = {}
        self.slots: dict[int, int] = {}
        self.leaving: set[int] = set()
        self.version = 0
        self.count = 0

    def holdings(self) -> Holdings:
        return Holdings(
            self.version,
            tuple(
                (n, name, f"tcp://{name}:1")
                for n, name in sorted(self.alive.items())
                if n not in self.leaving
            ),
            tuple(self.slots.get(slot) for slot in range(SLOTS)),
        )

    def join(self, name: str) -> int:
        self.count += 1
        self.alive[self.count] = name
        self.share_out()
        return self.count

    def end(self, writer: int) -> None:
        del self.alive[writer]
        self.share_out()

    def share_out(self) -> None:
        """Give what nobody has who lives to those who do."""
        if not self.alive:
            return
        writer_of = {name: writer for writer, name in self.alive.items()}
        names = owners(shared_out([(name, "") for name in writer_of]))
        for slot in range(SLOTS):
            name = names[slot]
            if self.slots.get(slot) not in self.alive and name is not None:
                self.slots[slot] = writer_of[name]
                self.version += 1

    def move(self, owner: int, gift: dict[int, int]) -> None:
        for slot, writer in gift.items():
            if writer in self.alive and self.slots[slot] == owner:
                self.slots[slot] = writer
                self.version += 1


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_nobody_has_a_slot_twice_and_all_are_shared_out(seed: int) -> None:
    random, database = Random(seed), Database()
    plans: dict[int, SlotPlan] = {}
    versions: dict[int, int] = {}
    gifts: dict[int, dict[int, int]] = {}

    def step(writer: int) -> bool:
        plan = plans[writer]
        news = plan.take(database.holdings())
        assert not plan.lost
        if writer in gifts:
            database.move(writer, gifts.pop(writer))
            plan.take(database.holdings())
            plan.given()
            return True
        if plan.next_load() or plan._loading:
            if random.random() < 0.7:
                plan.loaded()
            return True
        if gift := plan.next_gift():
            gifts[writer] = gift
            return True
        return news

    for number in range(120):
        chance = random.random()
        if chance < 0.08 and len(plans) < 5:
            writer = database.join(f"n{number}")
            plans[writer] = SlotPlan(writer)
        elif chance < 0.12 and len(plans) > 1:
            writer = random.choice(list(plans))
            del plans[writer]
            gifts.pop(writer, None)
            database.end(writer)
        elif plans:
            step(random.choice(list(plans)))
        seen: set[int] = set()
        for writer, plan in plans.items():
            mine = plan.mine - gifts.get(writer, {}).keys()
            assert not seen & mine
            seen |= mine
            slots = plan.slot_map()
            if slots is not None:
                assert slots.version // 2 >= versions.get(writer, 0)
                versions[writer] = slots.version // 2
    if not plans:
        return
    leaver = random.choice(list(plans))
    if len(plans) > 1:
        plans[leaver].leave()
        database.leaving.add(leaver)
    for _ in range(2_000):
        moved = [step(writer) for writer in plans]
        if not any(moved):
            break
    names = {database.alive[writer] for writer in plans if not plans[writer].is_leaving}
    wanted = owners(shared_out([(name, "") for name in names]))
    for writer, plan in plans.items():
        name = None if plan.is_leaving else database.alive[writer]
        assert plan.mine == {slot for slot in range(SLOTS) if wanted[slot] == name}
        assert owners(told(plan)) == wanted
