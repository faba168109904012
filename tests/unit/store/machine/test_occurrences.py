"""Calls of schedules in other slots: their ends are heard of, and until then they count."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.store.machine.world import CONFIG, START, World
from understudy_store.addresses import slot_address
from understudy_store.commands import (
    PromiseAnnounce,
    PromiseOccur,
    PromiseRegisterListener,
    PromiseSupersede,
    ScheduleDelete,
    SchedulePut,
    ScheduleTrigger,
    ScheduleUpdate,
)
from understudy_store.records import EMPTY, PromiseRecord, SchedulePlan, ScheduleRecord
from understudy_store.slots import slot_of

MINUTE = 60_000
FIRST = 17 * MINUTE
SHARDED = msgspec.structs.replace(CONFIG, sharded=True)
HERE = slot_of("s")


def ended(minute: int) -> PromiseAnnounce:
    """The call of a minute has ended."""
    id_, at = f"far.{FIRST + minute * MINUTE}", FIRST + minute * MINUTE
    return PromiseAnnounce(HERE, PromiseRecord(id_, "resolved", EMPTY, EMPTY, {}, at + 1, at, at))


def asked_for(minute: int) -> PromiseRegisterListener:
    return PromiseRegisterListener(f"far.{FIRST + minute * MINUTE}", slot_address(HERE))


class Rig:
    """A schedule "s" whose calls are in another slot, at another broker."""

    def __init__(self, overlap: str) -> None:
        self.world = World(SHARDED)
        plan = SchedulePlan(overlap=overlap)
        self.world.do(SchedulePut("s", "* * * * *", "far.{timestamp}", MINUTE, plan=plan))
        self.made: list[int] = []
        self.listened: list[PromiseRegisterListener] = []
        self.superseded: list[str] = []

    @property
    def schedule(self) -> ScheduleRecord:
        return self.world.machine.state.schedules["s"]

    def waiting(self) -> int | None:
        """The timestamp of the call that waits."""
        return self.schedule.course.waiting

    def until(self, minute: float) -> list[int]:
        """Let time go on; return the minutes of calls that were made."""
        self.world.now = max(self.world.now, FIRST + round(minute * MINUTE))
        self.made = []
        while True:
            self.world.settle_down()
            self.world.commit()
            requests = self.world.machine.take_requests()
            if not requests:
                return self.made
            for each in requests:
                if isinstance(each, PromiseOccur):
                    self.made.append((each.date - FIRST) // MINUTE)
                    self.world.occurred("s", each.date)
                elif isinstance(each, PromiseSupersede):
                    self.superseded.append(each.id)
                else:
                    self.listened.append(each)


def test_the_end_of_a_call_is_heard_of_only_if_it_matters() -> None:
    rig = Rig("allow")
    assert rig.until(1) == [0, 1]
    assert rig.listened == []
    rig.world.do(ScheduleUpdate("s", overlap="skip"))
    assert rig.until(1.5) == []
    assert rig.listened == [asked_for(1)]


def test_a_call_is_skipped_until_the_end_of_the_last_is_heard_of() -> None:
    rig = Rig("skip")
    assert rig.until(2) == [0]
    assert rig.listened == [asked_for(0)]
    assert rig.schedule.course.skipped_at == FIRST + 2 * MINUTE
    rig.world.do(ended(0))
    assert rig.until(3) == [3]
    assert rig.listened == [asked_for(0), asked_for(3)]


def test_after_a_restart_its_end_is_asked_for_again() -> None:
    rig = Rig("skip")
    assert rig.until(0) == [0]
    rig.world.restart()
    assert rig.until(1) == []
    assert rig.listened == [asked_for(0)] * 2
    # It does not exist any more.
    rig.world.forget_ask(f"far.{FIRST}", HERE)
    assert rig.until(2) == [2]


def test_a_call_waits_for_the_end_of_the_last() -> None:
    rig = Rig("buffer_one")
    assert rig.until(2) == [0]
    assert rig.waiting() == FIRST + MINUTE
    rig.world.restart()
    assert rig.until(2.5) == []
    rig.world.do(ended(0))
    assert rig.until(2.6) == [1]
    assert rig.waiting() is None
    assert rig.schedule.course.last_id == f"far.{FIRST + MINUTE}"
    rig.world.do(ended(1))
    assert rig.until(3) == [3]


def test_the_last_is_canceled_before_the_next_is_made() -> None:
    rig = Rig("cancel_other")
    assert rig.until(1) == [0]
    assert rig.superseded == [f"far.{FIRST}"]
    rig.world.restart()
    assert rig.until(2) == []
    assert set(rig.superseded) == {f"far.{FIRST}"}
    assert rig.schedule.course.waiting == FIRST + 2 * MINUTE
    rig.world.do(ended(0))
    assert rig.until(2.1) == [2]


def test_the_slot_of_a_call_cancels_it_once() -> None:
    world = World(SHARDED)
    command = PromiseSupersede("s", "far.1")
    assert world.do(command).status == 200
    world.promise("far.1", MINUTE)
    assert world.do(command).status == 200
    assert world.record("far.1").state == "rejected_canceled"
    assert world.do(command).status == 200


@pytest.mark.parametrize("overlap", ["allow", "skip"])
def test_a_call_that_is_asked_for_is_made_soon(overlap: str) -> None:
    rig = Rig(overlap)
    reply = rig.world.do(ScheduleTrigger("s", START + 1))
    assert (reply.status, reply.promise) == (200, None)
    # It is in the record, so a restart does not lose it.
    rig.world.commit()
    rig.world.restart()
    rig.until(-0.1)
    assert rig.schedule.course.last_id == f"far.{START + 1}"
    assert rig.waiting() is None
    assert rig.schedule.last_run_at is None
    again = rig.world.do(ScheduleTrigger("s", START + 1))
    assert again.status == 200
    assert rig.until(-0.05) == []


def test_a_change_while_a_call_is_being_made() -> None:
    rig = Rig("skip")
    rig.world.now = FIRST
    rig.world.settle_down()
    rig.world.do(ScheduleUpdate("s", cron="*/10 * * * *"))
    [command] = rig.world.machine.take_requests()
    assert isinstance(command, PromiseOccur)
    rig.world.occurred("s", command.date)
    assert rig.schedule.course.last_id == command.id
    assert rig.until(3) == []
    assert rig.schedule.next_run_at == 30 * MINUTE


def test_nobody_is_told_who_is_gone() -> None:
    rig = Rig("buffer_one")
    assert rig.until(1) == [0]
    rig.world.do(ScheduleDelete("s"))
    assert rig.world.machine.state.followed == {}
    assert rig.world.do(ended(0)).status == 200
