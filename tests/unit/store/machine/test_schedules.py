"""Schedules: their commands, and what they make when they are due."""

from __future__ import annotations

import msgspec
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
from understudy_store.machine.cron import following
from understudy_store.records import TAG_TARGET, TAG_TIMER, ScheduleCourse, Value

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
    occurrences = [FIRST + n * MINUTE for n in range(8)]
    assert [record.created_at for record in world.view.promises.values()] == occurrences


@pytest.mark.parametrize("late", [0, 1, MINUTE - 1, MINUTE, 30 * MINUTE])
def test_a_promise_is_created_at_its_occurrence_however_late_the_sweep_is(late: int) -> None:
    world = World(MachineConfig(missed_max=1))
    world.do(schedule(HOURLY, tags={TAG_TARGET: "g"}))
    world.now = 60 * MINUTE + late
    world.sweep()
    record = world.record(f"s/{60 * MINUTE}")
    assert (record.created_at, record.timeout_at) == (60 * MINUTE, 61 * MINUTE)
    assert record.settled_at == (61 * MINUTE if late >= MINUTE else None)


def test_what_a_schedule_was_made_with_does_not_change(world: World) -> None:
    made = world.do(schedule()).schedule
    world.now = FIRST + 3 * MINUTE
    world.settle_down()
    later = world.do(ScheduleGet("s")).schedule
    assert made is not None
    assert later is not None
    course = ScheduleCourse(last_id=f"s/{FIRST + 3 * MINUTE}")
    ran = {"last_run_at": FIRST + 3 * MINUTE, "next_run_at": FIRST + 4 * MINUTE, "course": course}
    assert later == msgspec.structs.replace(made, **ran)
    # A create with other arguments returns the one that is there.
    assert world.do(schedule(HOURLY, "other", 5)).schedule == later


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


def _next(world: World) -> tuple[int | None, int]:
    record = world.do(ScheduleGet("s")).schedule
    assert record is not None
    return record.last_run_at, record.next_run_at


def test_schedules_follow_a_clock_that_is_set_forward(world: World) -> None:
    """As if the broker had been away, but sleeps and timeouts go on as before."""
    world.do(schedule(timeout=10 * MINUTE))
    world.promise("sleep", 2 * MINUTE, timer="true")
    world.follow(-3 * MINUTE)
    world.settle_down()
    made = [f"s/{FIRST + n * MINUTE}" for n in range(3)]
    assert [key for key in world.view.promises if key != "sleep"] == made
    assert _next(world) == (FIRST + 2 * MINUTE, FIRST + 3 * MINUTE)
    # Each has its whole timeout, from the moment that its occurrence is by the store's own time.
    assert world.record(made[2]).created_at == FIRST - MINUTE
    assert world.record(made[2]).timeout_at == FIRST + 9 * MINUTE
    assert world.record("sleep").state == "pending"
    assert world.machine.next_due() == FIRST


def test_schedules_follow_a_clock_that_is_set_back(world: World) -> None:
    """What has occurred occurs again, and its promise is there already."""
    world.do(schedule())
    world.now = FIRST + 5 * MINUTE
    world.settle_down()
    count = len(world.view.promises)
    world.follow(3 * MINUTE)
    assert _next(world) == (None, FIRST + 3 * MINUTE)
    world.settle_down()
    world.now += 3 * MINUTE
    world.settle_down()
    assert len(world.view.promises) == count
    world.now += MINUTE
    world.settle_down()
    assert len(world.view.promises) == count + 1
    assert _next(world) == (FIRST + 6 * MINUTE, FIRST + 7 * MINUTE)


@pytest.mark.parametrize("ahead", [-MINUTE, 50 * MINUTE, 10 * 365 * 24 * 60 * MINUTE])
def test_a_store_from_the_future_has_schedules_of_today(ahead: int) -> None:
    """The broker ran once with a wrong clock; now schedules run by the right one."""
    world = World()
    today = START + MINUTE
    world.now = today + ahead
    world.do(schedule(HOURLY))
    world.commit()
    world.ahead = ahead
    world.restart()
    assert _next(world) == (None, 60 * MINUTE)
    world.commit()
    world.restart()
    assert _next(world) == (None, 60 * MINUTE)
    world.now = 60 * MINUTE + ahead
    world.settle_down()
    assert world.record(f"s/{60 * MINUTE}").created_at == world.now
    assert world.record(f"s/{60 * MINUTE}").timeout_at == world.now + MINUTE


def test_a_schedule_that_is_made_later_runs_by_the_date_too(world: World) -> None:
    world.follow(-50 * MINUTE)
    assert world.do(schedule(HOURLY)).status == 201
    assert _next(world) == (None, 120 * MINUTE)
    assert world.machine.next_due() == 70 * MINUTE
    world.do(ScheduleDelete("s"))
    assert world.machine.next_due() is None


def test_schedules_have_a_bound_and_those_with_seconds_another() -> None:
    """10,000 schedules that came due every second left a broker time for nothing else."""
    world = World(MachineConfig(limits=Limits(schedules_max=5, second_schedules_max=2)))

    def make(id_: str, cron: str = HOURLY) -> int:
        reply = world.do(msgspec.structs.replace(schedule(cron), id=id_))
        assert reply.status == 201 or "delete some" in (reply.error or "")
        return reply.status

    assert [make(f"a{n}", "* * * * * *") for n in range(3)] == [201, 201, 429]
    assert world.do(ScheduleDelete("a0")).ok
    assert [make(f"b{n}", "0 * * * * *") for n in range(2)] == [201, 429]
    assert [make(f"c{n}") for n in range(4)] == [201, 201, 201, 429]
    assert make("d0", "* * * * * *") == 429
    assert world.do(msgspec.structs.replace(schedule(), id="c0")).status == 200, "it exists"


def test_a_sweep_reads_no_more_occurrences_than_it_may_run() -> None:
    """With 10,000 schedules that are due, each sweep read as many ids a hundred times."""
    world = World(MachineConfig(missed_max=10))
    for n in range(50):
        world.do(msgspec.structs.replace(schedule("* * * * * *"), id=f"s{n}"))
    world.now += 30_000
    read = world.machine.due_lookups(world.now)
    assert len(read) == 10


def test_what_was_not_read_is_not_run() -> None:
    """Of an id that was not looked up it is not known whether its promise exists."""
    world = World(MachineConfig(missed_max=3))
    for name in "ab":
        world.do(msgspec.structs.replace(schedule(), id=name))
    world.commit()
    world.now = FIRST + MINUTE
    read = world.machine.due_lookups(world.now)
    assert len(read) == 3
    first = next(iter(sorted(read))).partition("/")[0]
    world.do(ScheduleDelete(first))
    made = {record.id for record in world.machine.view.records()}
    world.machine.sweep(world.now)
    assert {record.id for record in world.machine.view.records()} - made <= read
