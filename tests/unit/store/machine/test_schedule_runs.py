"""Plans of schedules: overlaps, catching up, pauses, calls that are asked for, changes."""

from __future__ import annotations

from datetime import datetime
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from tests.unit.store.machine.world import CONFIG, START, World
from understudy_store.commands import (
    PromiseSettle,
    Reply,
    ScheduleDelete,
    ScheduleGet,
    ScheduleNext,
    SchedulePause,
    SchedulePut,
    ScheduleResume,
    ScheduleTrigger,
    ScheduleUpdate,
    StoreCommand,
)
from understudy_store.limits import Limits
from understudy_store.machine import MachineConfig, cron
from understudy_store.machine.schedule_runs import LATE_MS
from understudy_store.records import SchedulePlan, ScheduleRecord
from understudy_store.zones import system_zone

MINUTE = 60_000
HOUR = 60 * MINUTE
#: START is 1000 s after the epoch, that is 00:16:40
FIRST = 17 * MINUTE
EVERY = "* * * * *"


def put(
    cron_line: str = EVERY, *, replace: bool = False, timeout: int = HOUR, **plan: Any
) -> SchedulePut:
    """A schedule "s"."""
    made = msgspec.structs.replace(SchedulePlan(), **plan)
    return SchedulePut("s", cron_line, "{id}.{timestamp}", timeout, plan=made, replace=replace)


@pytest.fixture
def world() -> World:
    return World()


def now_is(world: World, now: int) -> None:
    world.now = now
    world.settle_down()
    world.commit()


def record(world: World) -> ScheduleRecord:
    found = world.do(ScheduleGet("s")).schedule
    assert found is not None
    return found


def made(world: World) -> list[int]:
    """Timestamps of the calls, in minutes from the first."""
    return [(int(id_.partition(".")[2]) - FIRST) // MINUTE for id_ in world.view.promises]


def states(world: World) -> list[str]:
    return [each.state for each in world.view.promises.values()]


def settle(world: World, minute: int) -> None:
    world.do(PromiseSettle(f"s.{FIRST + minute * MINUTE}", "resolved"))


def ok(reply: Reply) -> ScheduleRecord:
    assert reply.ok, reply.error
    assert reply.schedule is not None
    return reply.schedule


class TestOverlaps:
    def test_all_are_made_by_default(self, world: World) -> None:
        world.do(put())
        now_is(world, FIRST + 2 * MINUTE)
        assert states(world) == ["pending"] * 3

    def test_one_is_skipped_while_the_last_is_under_way(self, world: World) -> None:
        world.do(put(overlap="skip"))
        for minute in range(3):
            now_is(world, FIRST + minute * MINUTE)
        assert made(world) == [0]
        course = record(world).course
        assert (course.skipped_at, course.skipped_why) == (FIRST + 2 * MINUTE, "overlap")
        assert record(world).next_run_at == FIRST + 3 * MINUTE
        settle(world, 0)
        now_is(world, FIRST + 3 * MINUTE)
        assert made(world) == [0, 3]
        world.restart()
        now_is(world, FIRST + 4 * MINUTE)
        assert made(world) == [0, 3]

    def test_one_waits_for_the_last_and_no_second(self, world: World) -> None:
        world.do(put(overlap="buffer_one"))
        for minute in range(4):
            now_is(world, FIRST + minute * MINUTE)
        assert made(world) == [0]
        assert record(world).course.waiting == FIRST + MINUTE
        assert record(world).course.skipped_at == FIRST + 3 * MINUTE
        world.restart()
        world.advance(1)
        settle(world, 0)
        assert world.machine.next_due() == world.now
        world.settle_down()
        assert made(world) == [0, 1]
        # It has its whole timeout from now on.
        waited = world.record(f"s.{FIRST + MINUTE}")
        assert (waited.created_at, waited.timeout_at) == (world.now, world.now + HOUR)
        assert record(world).course.waiting is None

    def test_one_that_waits_is_made_although_the_last_has_ended_while_nobody_was_there(
        self, world: World
    ) -> None:
        world.do(put(overlap="buffer_one", timeout=90_000))
        now_is(world, FIRST)
        now_is(world, FIRST + MINUTE)
        assert record(world).course.waiting == FIRST + MINUTE
        world.now = FIRST + 91_000
        world.restart()
        world.settle_down()
        assert made(world) == [0, 1]

    def test_the_last_is_canceled(self, world: World) -> None:
        world.do(put(overlap="cancel_other"))
        now_is(world, FIRST)
        now_is(world, FIRST + MINUTE)
        assert made(world) == [0, 1]
        assert states(world) == ["rejected_canceled", "pending"]

    def test_a_call_does_not_overlap_itself(self, world: World) -> None:
        world.do(put(overlap="cancel_other"))
        now_is(world, FIRST)
        world.follow(MINUTE)
        now_is(world, FIRST + MINUTE)
        assert (made(world), states(world)) == ([0], ["pending"])


class TestCatchingUp:
    def run(self, world: World, catch_up: str | int) -> list[int]:
        world.do(put(catch_up=catch_up))
        world.commit()
        world.now = FIRST + 5 * MINUTE + LATE_MS + 1
        world.restart()
        world.settle_down()
        return made(world)

    def test_all(self, world: World) -> None:
        assert self.run(world, "all") == [0, 1, 2, 3, 4, 5]

    def test_the_last(self, world: World) -> None:
        assert self.run(world, "last") == [5]
        course = record(world).course
        assert (course.skipped_at, course.skipped_why) == (FIRST + 4 * MINUTE, "missed")

    def test_none(self, world: World) -> None:
        assert self.run(world, "none") == []
        assert record(world).last_run_at == FIRST + 5 * MINUTE
        assert record(world).next_run_at == FIRST + 6 * MINUTE

    @pytest.mark.parametrize(("ms", "kept"), [(0, []), (10_001, [5]), (2 * MINUTE, [4, 5])])
    def test_so_many(self, world: World, ms: int, kept: list[int]) -> None:
        assert self.run(world, ms) == kept

    @pytest.mark.parametrize("catch_up", ["last", "none", 0])
    def test_a_little_late_is_not_missed(self, world: World, catch_up: str | int) -> None:
        world.do(put(catch_up=catch_up))
        now_is(world, FIRST + LATE_MS)
        assert made(world) == [0]

    def test_a_year_is_left_out_at_once(self) -> None:
        world = World(MachineConfig(missed_max=10, zones=system_zone))
        world.do(put("* * * * * *", catch_up="none"))
        world.now += 365 * 24 * HOUR
        sweeps = 0
        while world.sweep():
            sweeps += 1
        assert sweeps <= 2
        assert len(world.view.promises) == 11


@pytest.mark.parametrize("seed", range(25))
def test_no_call_is_doubled_and_none_is_lost(seed: int) -> None:
    """A broker comes and goes, and each occurrence is one call, or was missed by the rule."""
    random = Random(seed)
    zone = random.choice(["UTC", "Europe/Vienna"])
    catch_up: str | int = random.choice(("all", "last", "none", 40_000, 300_000))
    line = random.choice([EVERY, "*/20 * * * * *", "*/5 * * * *"])
    world = World(msgspec.structs.replace(CONFIG, missed_max=random.choice([1, 3, 100])))
    # The clocks of Vienna are set on that day.
    begin = 1_792_886_400_000 + random.randrange(3 * HOUR)
    world.now = begin
    world.do(put(line, zone=zone, catch_up=catch_up, timeout=5))
    world.commit()
    due = list(_due(line, begin, begin + 24 * HOUR, zone))
    expected: set[int] = set()
    done = 0
    for _ in range(40):
        world.advance(random.choice([1, 5_000, 20_000, 60_000, 200_000, 900_000]))
        if random.random() < 0.3:
            world.restart()
            if random.random() < 0.5:
                continue
        world.settle_down()
        if random.random() < 0.8:
            world.commit()
        now_due = [at for at in due[done:] if at <= world.now]
        done += len(now_due)
        missed = [at for at in now_due if world.now - at > LATE_MS]
        if catch_up == "all":
            missed = []
        elif catch_up == "last":
            missed = missed[:-1]
        elif isinstance(catch_up, int):
            missed = [at for at in missed if world.now - at > catch_up]
        expected |= set(now_due) - set(missed)
        world.commit()
    assert {int(id_.partition(".")[2]) for id_ in world.view.promises} == expected


def _due(line: str, first: int, last: int, zone: str) -> list[int]:
    found: list[int] = []
    known = system_zone(zone)
    assert known is not None
    at = cron.following(line, first, known)
    while at is not None and at <= last:
        found.append(at)
        at = cron.following(line, at, known)
    return found


def test_one_call_for_each_day_of_a_year_in_its_zone(world: World) -> None:
    world.now = 1_767_222_000_000  # 2026 begins in Vienna
    world.do(put("30 2 * * *", zone="Europe/Vienna", timeout=1))
    days = 0
    while days < 365:
        world.now = record(world).next_run_at
        world.settle_down()
        world.commit()
        days += 1
    zone = ZoneInfo("Europe/Vienna")
    dates = [
        datetime.fromtimestamp(int(id_.partition(".")[2]) / 1000, zone).date()
        for id_ in world.view.promises
    ]
    assert len(set(dates)) == len(dates) == 365


class TestPauses:
    def test_nothing_is_made_until_it_is_resumed(self, world: World) -> None:
        world.do(put())
        now_is(world, FIRST)
        paused = ok(world.do(SchedulePause("s", "why")))
        assert (paused.course.paused_at, paused.course.pause_reason) == (FIRST, "why")
        now_is(world, FIRST + 3 * MINUTE)
        world.restart()
        now_is(world, FIRST + 3 * MINUTE + 1)
        assert made(world) == [0]
        assert world.machine.next_due() == FIRST + HOUR
        resumed = ok(world.do(ScheduleResume("s")))
        assert (resumed.course.paused_at, resumed.course.pause_reason) == (None, "")
        assert resumed.course.skipped_why == "paused"
        now_is(world, FIRST + 4 * MINUTE)
        assert made(world) == [0, 4]

    def test_it_goes_on_by_itself(self, world: World) -> None:
        world.do(put())
        ok(world.do(SchedulePause("s", until=FIRST + 2 * MINUTE)))
        ok(world.do(SchedulePause("s", "longer", until=FIRST + 3 * MINUTE)))
        now_is(world, FIRST + 2 * MINUTE)
        assert made(world) == []
        world.commit()
        world.now = FIRST + 4 * MINUTE
        world.restart()
        world.settle_down()
        assert made(world) == [3, 4]

    def test_a_call_that_waits_is_left_out(self, world: World) -> None:
        world.do(put(overlap="buffer_one"))
        now_is(world, FIRST)
        now_is(world, FIRST + MINUTE)
        assert ok(world.do(SchedulePause("s"))).course.waiting is None
        settle(world, 0)
        world.settle_down()
        assert made(world) == [0]

    def test_resuming_and_pausing_again_is_harmless(self, world: World) -> None:
        before = ok(world.do(put()))
        assert ok(world.do(ScheduleResume("s"))) == before
        once = ok(world.do(SchedulePause("s", "why")))
        world.advance(1)
        assert ok(world.do(SchedulePause("s", "why"))) == once


class TestTriggers:
    def test_a_call_is_made_now(self, world: World) -> None:
        world.do(put())
        ok(world.do(SchedulePause("s")))
        reply = world.do(ScheduleTrigger("s", 77_777))
        assert (reply.status, reply.promise) == (201, world.record("s.77777"))
        assert world.record("s.77777").timeout_at == START + HOUR
        again = world.do(ScheduleTrigger("s", 77_777))
        assert (again.status, again.promise) == (200, world.record("s.77777"))
        world.do(PromiseSettle("s.77777", "resolved"))
        world.commit()
        again = world.do(ScheduleTrigger("s", 77_777))
        assert again.promise is not None
        assert (again.status, again.promise.state) == (200, "resolved")

    def test_the_rule_about_overlaps_counts(self, world: World) -> None:
        world.do(put(overlap="skip"))
        now_is(world, FIRST)
        refused = world.do(ScheduleTrigger("s", 77_777))
        assert refused.status == 409
        assert f"'s.{FIRST}', has not settled" in (refused.error or "")
        ok(world.do(ScheduleUpdate("s", overlap="buffer_one")))
        assert ok(world.do(ScheduleTrigger("s", 77_777))).course.waiting == 77_777
        assert world.do(ScheduleTrigger("s", 77_777)).status == 200
        assert world.do(ScheduleTrigger("s", 88_888)).status == 409
        world.commit()
        world.restart()
        settle(world, 0)
        world.settle_down()
        assert list(world.view.promises) == [f"s.{FIRST}", "s.77777"]
        ok(world.do(ScheduleUpdate("s", overlap="cancel_other")))
        assert world.do(ScheduleTrigger("s", 99_999)).status == 201
        assert world.record("s.77777").state == "rejected_canceled"

    def test_what_was_not_looked_up_is_not_made(self, world: World) -> None:
        command = ScheduleTrigger("s", 77_777)
        world.machine.lookups([command])
        assert world.machine.apply(put(), world.now).status == 201
        assert world.machine.apply(command, world.now).status == 409
        assert world.machine.lookups([command]) == {"s.77777"}
        assert world.machine.apply(command, world.now).status == 201

    def test_a_schedule_of_the_same_batch_is_known(self, world: World) -> None:
        command = ScheduleTrigger("s", 77_777)
        assert world.machine.lookups([put(), command]) == {"s.77777"}
        assert world.machine.apply(put(), world.now).status == 201
        assert world.machine.apply(command, world.now).status == 201

    @pytest.mark.parametrize("date", [1_000, 0, -1, 2**62 + 1])
    def test_no_occurrence_has_its_timestamp(self, world: World, date: int) -> None:
        world.do(put())
        assert world.do(ScheduleTrigger("s", date)).status == 400


class TestChanges:
    def test_a_schedule_that_exists_is_returned_unless_it_is_to_be_replaced(
        self, world: World
    ) -> None:
        before = ok(world.do(put()))
        assert world.do(put("0 * * * *")) == Reply(200, schedule=before)
        now_is(world, FIRST)
        ok(world.do(SchedulePause("s", "why")))
        paused = record(world)
        after = ok(world.do(put("0 * * * *", replace=True, overlap="skip")))
        assert (after.cron, after.next_run_at, after.created_at) == ("0 * * * *", HOUR, START)
        assert after.course == msgspec.structs.replace(paused.course, since=FIRST)
        world.commit()
        assert ok(world.do(put("0 * * * *", replace=True, overlap="skip"))) == after
        assert not world.commit().schedules_put

    def test_a_schedule_that_does_not_exist_is_made_with_replace_too(self, world: World) -> None:
        assert world.do(put(replace=True)).status == 201

    def test_another_rule_leaves_what_is_due_next(self, world: World) -> None:
        world.do(put("0 * * * *"))
        world.now = HOUR + 1
        after = ok(world.do(ScheduleUpdate("s", overlap="skip", promise_timeout=5)))
        assert (after.next_run_at, after.promise_timeout) == (HOUR, 5)
        world.settle_down()
        assert list(world.view.promises) == [f"s.{HOUR}"]

    def test_another_zone_makes_it_due_at_other_times(self, world: World) -> None:
        world.do(put("0 3 * * *"))
        after = ok(world.do(ScheduleUpdate("s", zone="Europe/Vienna")))
        assert after.next_run_at == 2 * HOUR
        world.commit()
        world.restart()
        assert record(world) == after

    def test_a_change_between_lookup_and_sweep_is_heeded(self, world: World) -> None:
        world.do(put())
        world.now = FIRST
        world.machine.due_lookups(world.now)
        ok(world.do(put(replace=True, jitter=1)))
        world.machine.sweep(world.now)
        assert world.do(ScheduleDelete("s")).ok

    def test_rules_of_the_zone_that_have_changed(self, world: World) -> None:
        world.do(put("0 3 * * *", zone="Europe/Vienna"))
        world.commit()
        other = msgspec.structs.replace(CONFIG, zones=lambda _: ZoneInfo("Asia/Tokyo"))
        world.config = other
        world.machine = type(world.machine)(other)
        world.machine.restore(world.shelf.snapshot(), world.now)
        assert world.machine.state.schedules["s"].next_run_at == 18 * HOUR

    def test_a_zone_that_is_not_known_here_waits_for_a_broker_that_knows_it(
        self, world: World
    ) -> None:
        made_ = ok(world.do(put("0 3 * * *", zone="Europe/Vienna")))
        world.commit()
        machine = type(world.machine)(MachineConfig())
        machine.restore(world.shelf.snapshot(), world.now)
        assert machine.next_due() is None
        assert not machine.sweep(10 * HOUR)
        assert machine.state.schedules["s"] == made_
        reply = machine.apply(ScheduleNext("s"), 10 * HOUR)
        assert reply.times == [2 * HOUR]

    @pytest.mark.parametrize(
        ("command", "status", "says"),
        [
            (put(zone="Europe/Wien"), 400, "time zone 'Europe/Wien'"),
            (put(zone="x" * 200), 400, "time zone"),
            (put(overlap="never"), 400, "allow, skip, buffer_one, cancel_other"),
            (put(catch_up="some"), 400, "all, last, none"),
            (put(catch_up=-1), 400, "catch_up"),
            (put(jitter=-1), 400, "jitter"),
            (put("* * *"), 400, "cron line"),
            (ScheduleUpdate("s", cron="* * *"), 400, "cron line"),
            (ScheduleUpdate("s", zone="Mars"), 400, "time zone"),
            (ScheduleUpdate("s", promise_timeout=0), 400, "promise_timeout"),
            (ScheduleUpdate("s", overlap=""), 400, "overlap"),
            (ScheduleUpdate("s", cron="* * * * * *"), 429, "say seconds"),
            (put("* * * * * *", replace=True), 429, "say seconds"),
            (SchedulePause("s", until=START), 400, "until is over"),
            (SchedulePause("s", until=2**63), 400, "until"),
            (SchedulePause("s", "x" * 10**6), 400, "reason"),
            (ScheduleNext("s", 0), 400, "count"),
            (ScheduleNext("s", 101), 400, "count"),
            *(
                (each, 404, "does not exist")
                for each in (
                    ScheduleUpdate("none"),
                    SchedulePause("none"),
                    ScheduleResume("none"),
                    ScheduleTrigger("none", 1),
                    ScheduleNext("none"),
                )
            ),
        ],
    )
    def test_what_makes_no_sense_changes_nothing(
        self, command: StoreCommand, status: int, says: str
    ) -> None:
        limits = Limits(second_schedules_max=0)
        world = World(msgspec.structs.replace(CONFIG, limits=limits))
        before = ok(world.do(put()))
        reply = world.do(command)
        assert reply.status == status
        assert says in (reply.error or "")
        assert record(world) == before


class TestTimes:
    def test_the_next_ones(self, world: World) -> None:
        world.do(put("30 2 * * *", zone="Europe/Vienna"))
        times = world.do(ScheduleNext("s", 3)).times
        day = 24 * HOUR
        assert times == [1 * HOUR + 30 * MINUTE + n * day for n in range(3)]

    def test_while_it_is_paused(self, world: World) -> None:
        world.do(put())
        ok(world.do(SchedulePause("s")))
        world.now = FIRST + 5 * MINUTE
        assert world.do(ScheduleNext("s", 1)).times == [FIRST + 6 * MINUTE]
        ok(world.do(SchedulePause("s", until=FIRST + 10 * MINUTE)))
        assert world.do(ScheduleNext("s", 1)).times == [FIRST + 10 * MINUTE]

    def test_jitter_puts_calls_off_and_leaves_their_timestamps(self, world: World) -> None:
        world.do(put(jitter=30_000))
        due_at = world.machine.next_due()
        assert due_at is not None
        assert FIRST <= due_at <= FIRST + 30_000
        now_is(world, due_at - 1)
        assert made(world) == []
        now_is(world, due_at)
        assert world.record(f"s.{FIRST}").created_at == due_at
        assert world.record(f"s.{FIRST}").timeout_at == due_at + HOUR
