"""Placement: slots are shared out evenly, and each command concerns the broker of its id."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.own_slots import OwnSlots
from understudy_broker.protocol.messages import (
    NOBODY,
    AnyCommand,
    FunctionsGet,
    GroupsGet,
    PromiseCreateWatched,
    PromiseUnwatch,
    PromiseWatch,
    SlotMap,
)
from understudy_broker.protocol.placement import (
    owners,
    routing_id,
    shared_out,
    slot_concerned,
)
from understudy_store import commands as c
from understudy_store.records import EMPTY, PromiseRecord
from understudy_store.slots import SLOTS, slot_of


def has(slots: SlotMap, name: str, command: AnyCommand) -> bool:
    """Whether a broker of this map performs a command."""
    return OwnSlots(BrokerConfig(name=name, slots=slots)).has(command)


NAMES = st.lists(st.text("abc-123", min_size=1, max_size=6), min_size=1, max_size=12, unique=True)


@settings(max_examples=30, deadline=None)
@given(NAMES)
def test_slots_are_shared_out_evenly_whatever_the_order(names: list[str]) -> None:
    brokers = [(name, f"tcp://{name}:5577") for name in names]
    slots = shared_out(brokers)
    assert slots == shared_out(brokers[::-1])
    counts = [owners(slots).count(name) for name in names]
    assert sum(counts) == SLOTS
    assert max(counts) <= -(-SLOTS // len(names))


@settings(max_examples=30, deadline=None)
@given(NAMES.filter(lambda names: len(names) > 1))
def test_a_broker_that_joins_takes_its_part_and_moves_little_else(names: list[str]) -> None:
    *first, last = names
    before = owners(shared_out([(name, "") for name in first]))
    after = owners(shared_out([(name, "") for name in names]))
    moved = sum(old != new and new != last for old, new in zip(before, after, strict=True))
    assert after.count(last) <= -(-SLOTS // len(names))
    assert moved <= SLOTS // 8


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ((), {None: SLOTS}),
        (((9, 0), (19, NOBODY), (255, 1)), {"a": 10, None: 10, "b": 236}),
        (((9, 0),), {"a": 10, None: 246}),
        (((9, 7), (255, 0)), {None: 10, "a": 246}),
        (((9, -7), (9_999, 0)), {None: 10, "a": 246}),
        (((99, 0), (9, 1), (255, 1)), {"a": 100, "b": 156}),
    ],
)
def test_a_map_with_holes_or_nonsense_gives_those_slots_to_nobody(
    runs: tuple[tuple[int, int], ...], expected: dict[str | None, int]
) -> None:
    names = owners(SlotMap(1, (("a", ""), ("b", "")), runs))
    assert len(names) == SLOTS
    assert {name: names.count(name) for name in {*names}} == expected


COMMANDS: list[tuple[AnyCommand, str | None]] = [
    (c.PromiseGet("p.1"), "p.1"),
    (c.PromiseCreate("p", 9), "p"),
    (PromiseCreateWatched(c.PromiseCreate("p", 9)), "p"),
    (c.PromiseSettle("p", "resolved"), "p"),
    (c.PromiseCancel("p"), "p"),
    (c.PromiseRegisterCallback("awaited", "awaiter"), "awaiter"),
    (c.PromiseRegisterListener("awaited", "any@g"), "awaited"),
    (c.TaskFence("t", 1, (c.PromiseCreate("other", 9),)), "t"),
    (c.TaskSuspend("t", 1, ("other",)), "t"),
    (c.TaskFulfill("t", 1, "resolved"), "t"),
    (c.TaskPreload("t", 1), "t"),
    (c.ScheduleDelete("s"), "s"),
    (PromiseWatch(("p",)), "p"),
    (PromiseWatch(("p", "q")), None),
    (PromiseUnwatch(()), None),
    (c.PromiseSearch(), None),
    (c.TaskSearch(), None),
    (c.ScheduleSearch(), None),
    (c.TaskHeartbeat("pid"), None),
    (GroupsGet(), None),
    (FunctionsGet("g"), "g"),
]


@pytest.mark.parametrize(("command", "id_"), COMMANDS, ids=lambda each: type(each).__name__)
def test_the_id_that_decides(command: AnyCommand, id_: str | None) -> None:
    assert routing_id(command) == id_
    assert slot_concerned(command) == (None if id_ is None else slot_of(id_))
    if id_ is not None:
        first, last = slot_of(id_), slot_of(id_)
        mine = SlotMap(1, (("a", ""), ("b", "")), ((first - 1, 1), (last, 0), (255, 1)))
        assert has(mine, "a", command)
        assert not has(mine, "b", command)


def test_an_announcement_concerns_the_slot_that_hears_it() -> None:
    settled = PromiseRecord("q", "resolved", EMPTY, EMPTY, {}, 9, 1, 5)
    for slot in (slot_of("q") + 1, -1, SLOTS):
        command = c.PromiseAnnounce(slot, settled)
        assert slot_concerned(command) == slot
        mine = SlotMap(1, (("a", ""),), ((SLOTS - 1, 0),))
        assert has(mine, "a", command) == (0 <= slot < SLOTS)


def test_a_watch_is_a_brokers_own_if_all_its_promises_are() -> None:
    ids = [f"p{number}" for number in range(30)]
    slots = shared_out([("a", ""), ("b", "")])
    names = owners(slots)
    of_a = tuple(id_ for id_ in ids if names[slot_of(id_)] == "a")
    assert 0 < len(of_a) < len(ids)
    assert has(slots, "a", PromiseWatch(of_a))
    assert not has(slots, "a", PromiseWatch(tuple(ids)))
    assert has(slots, "a", PromiseWatch(()))
    assert has(slots, "a", c.PromiseSearch())
