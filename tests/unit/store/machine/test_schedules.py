"""Schedules: their commands, and what they make when they are due."""

from __future__ import annotations

import pytest

from tests.unit.store.machine.world import START, World
from understudy_store.commands import (
    PromiseSettle,
    ScheduleCreate,
    ScheduleDelete,
    ScheduleGet,
    ScheduleSearch,
)
from understudy_store.limits import Limits
from understudy_store.machine import MachineConfig
from understudy_store.machine.schedules import following
from understudy_store.records import TAG_TARGET, TAG_TIMER, Value

MINUTE = 60_000
#: START is 1000 s after the epoch, that is 00:16:40
FIRST = 17 * MINUTE
HOURLY = "0 * * * *"
EVERY = "* * * * *"


def schedule(
    cron: str = EVERY,
    template: str = "{id}/{timestamp}",
    timeout: int = MINUTE,
    tags: dict[str, str] | None = None,
) -> ScheduleCreate:
    """A schedule "s"."""
    return ScheduleCreate("s", cron, template, timeout, Value({}, b"1"), tags or {})


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(
    ("cron", "after", "at"),
    [
        (EVERY, START, FIRST),
        (EVERY, FIRST, FIRST + MINUTE),
        (EVERY, FIRST - 1, FIRST),
        (HOURLY, START, 60 * MINUTE),
        ("*/10 * * * * *", START + 1, START + 10_000),
        ("0 0 29 2 *", START, 789 * 24 * 60 * MINUTE),
        ("0 0 31 2 1#1", 2**62, None),
    ],
)
def test_occurrences_are_in_utc_and_later_than_asked(cron: str, after: int, at: int | None) -> None:
    assert following(cron, after) == at


def test_create_get_delete(world: World) -> None:
    made = world.do(schedule())
    assert made.status == 201
    assert made.schedule is not None
    assert (made.schedule.next_run_at, made.schedule.created_at) == (FIRST, START)
    again = world.do(schedule(HOURLY))
    assert (again.status, again.schedule) == (200, made.schedule)
    assert world.do(ScheduleGet("s")).schedule == made.schedule
    assert world.commit().schedules_put == [made.schedule]
    assert world.do(ScheduleDelete("s")).status == 200
    assert world.do(ScheduleGet("s")).status == 404
    assert world.do(ScheduleDelete("s")).status == 404
    assert world.commit().schedules_deleted == ["s"]
    world.advance(10 * MINUTE)
    world.settle_down()
    assert not world.view.promises


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (schedule("* * *"), "Wrong number of fields"),
        (schedule("61 * * * *"), "Bad minute"),
        (schedule("0 0 30 2 *"), "Bad day-of-month"),
        (schedule("* * * * *" + " " * 300), "characters"),
        (schedule(template="{name}"), "braces"),
        (schedule(template="{id"), "braces"),
        (schedule(template="a}"), "braces"),
        (schedule(template=""), "empty"),
        (schedule(template="a\n"), "control"),
        (schedule(template="{timestamp}" * 3), "characters"),
        (schedule(timeout=0), "duration"),
        (schedule(tags={TAG_TARGET: "no name"}), "not valid"),
        (schedule(tags={TAG_TARGET: "g", TAG_TIMER: "true"}), "timer"),
        (ScheduleCreate("", EVERY, "p", 1), "empty"),
    ],
)
def test_create_refuses_what_is_malformed(command: ScheduleCreate, says: str) -> None:
    world = World(MachineConfig(limits=Limits(id_chars_max=40)))
    reply = world.do(command)
    assert reply.status == 400
    assert reply.error is not None
    assert says in reply.error
    assert not world.commit()


def test_an_occurrence_makes_a_promise(world: World) -> None:
    world.do(schedule(tags={TAG_TARGET: "g"}))
    assert world.machine.next_due() == FIRST
    world.now = FIRST
    assert world.machine.due_lookups(FIRST) == {f"s/{FIRST}"}
    world.settle_down()
    record = world.record(f"s/{FIRST}")
    assert (record.timeout_at, record.param.data) == (FIRST + MINUTE, b"1")
    assert record.tags == {TAG_TARGET: "g"}
    assert [e.id for e in world.executes] == [f"s/{FIRST}"]
    got = world.do(ScheduleGet("s")).schedule
    assert got is not None
    assert (got.last_run_at, got.next_run_at) == (FIRST, FIRST + MINUTE)
    assert world.machine.due_lookups(FIRST) == set()


def test_missed_occurrences_are_made_up_for_in_bounded_rounds() -> None:
    world = World(MachineConfig(missed_max=3))
    world.do(schedule())
    world.commit()
    world.now = FIRST + 7 * MINUTE
    world.restart()
    made = []
    while True:
        more = world.sweep()
        made.append(len(world.view.promises))
        if not more:
            break
    assert made == [3, 6, 8]
    # all but the last were over before they began
    states = [record.state for record in world.view.promises.values()]
    assert states == ["rejected_timedout"] * 7 + ["pending"]


def test_an_id_that_exists_is_left_as_it_is(world: World) -> None:
    world.promise("once", MINUTE * 9)
    world.do(PromiseSettle("once", "resolved"))
    world.commit()
    world.do(schedule(template="once"))
    world.now = FIRST + MINUTE
    assert world.machine.due_lookups(world.now) == {"once"}
    world.settle_down()
    assert world.record("once").state == "resolved"
    assert not world.commit().inserted


def test_the_id_of_a_schedule_is_not_a_template(world: World) -> None:
    world.do(ScheduleCreate("{timestamp}", EVERY, "{id}", MINUTE))
    world.now = FIRST
    world.settle_down()
    assert list(world.view.promises) == ["{timestamp}"]


def test_a_search_is_checked(world: World) -> None:
    assert world.do(ScheduleSearch("x", 10)).status == 200
    assert world.do(ScheduleSearch(limit=0)).status == 400
