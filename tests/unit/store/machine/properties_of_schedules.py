"""Properties of schedules over a step (semantics: 23)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim

from tests.unit.store.machine.properties_of_states import check_schedule
from understudy_store.commands import (
    ScheduleCreate,
    ScheduleDelete,
    SchedulePause,
    SchedulePut,
    ScheduleResume,
    ScheduleTrigger,
    ScheduleUpdate,
    StoreCommand,
)
from understudy_store.records import ScheduleRecord


def check_schedules(
    before: Mapping[str, ScheduleRecord],
    after: Mapping[str, ScheduleRecord],
    kind: str,
    command: StoreCommand | None,
    now: int,
    date: int,
) -> None:
    """Check p23 for one step, after which schedules run by `date`."""
    for key in before.keys() - after.keys():
        assert isinstance(command, ScheduleDelete), ("p23", key)
        assert command.id == key, ("p23", key)
    for key, new in after.items():
        old = before.get(key)
        if old is new:
            continue
        check_schedule(new)
        if old is None:
            assert isinstance(command, ScheduleCreate | SchedulePut), ("p23", new)
            assert (command.id, new.created_at, new.last_run_at) == (key, now, None), ("p23", new)
            continue
        assert (new.id, new.created_at) == (old.id, old.created_at), ("p23", old, new)
        if new == old:
            continue
        if kind == "apply":
            _check_command(old, new, command, date)
        else:
            kept = ("cron", "promise_id", "promise_timeout", "promise_param", "promise_tags")
            for name in (*kept, "plan"):
                assert getattr(new, name) == getattr(old, name), ("p23", name, old, new)
            _check_own(old, new, kind, date)


def _check_command(
    old: ScheduleRecord, new: ScheduleRecord, command: StoreCommand | None, date: int
) -> None:
    """Only commands about a schedule change what it is."""
    changing = SchedulePut | ScheduleUpdate | SchedulePause | ScheduleResume | ScheduleTrigger
    assert isinstance(command, changing), ("p23", command, old, new)
    assert command.id == new.id, ("p23", command, new)
    if isinstance(command, ScheduleResume):
        assert new.next_run_at == following(new, date), ("p23", old, new)
        assert new.course.paused_at is None, ("p23", old, new)
    elif isinstance(command, SchedulePut | ScheduleUpdate):
        is_same = (old.cron, old.plan.zone) == (new.cron, new.plan.zone)
        at = old.next_run_at if is_same else following(new, date)
        assert new.next_run_at == at, ("p23", old, new)
    else:
        kept = msgspec.structs.replace(new, course=old.course)
        assert kept == old, ("p23", command, old, new)


def _check_own(old: ScheduleRecord, new: ScheduleRecord, kind: str, date: int) -> None:
    """By itself a schedule only goes on, and follows the date."""
    if kind in ("sweep", "occurred"):
        if old.course.paused_at is not None and new.course.paused_at is None:
            until = old.course.paused_until
            assert until is not None, ("p23", old, new)
            assert until <= date, ("p23", old, new)
            assert new.next_run_at == following(new, until - 1), ("p23", old, new)
        elif new.next_run_at != old.next_run_at:
            assert new.last_run_at is not None, ("p23", old, new)
            assert old.next_run_at <= new.last_run_at <= date, ("p23", old, new)
            assert new.next_run_at == following(new, new.last_run_at), ("p23", old, new)
        else:
            assert new.last_run_at == old.last_run_at, ("p23", old, new)
            made = (new.course.last_id, new.course.waiting)
            assert made != (old.course.last_id, old.course.waiting), ("p23", old, new)
    else:
        # The date was set back.
        assert kind in ("follow", "restart"), ("p23", old, new)
        is_ahead = old.last_run_at is not None and old.last_run_at > date
        assert is_ahead or new.next_run_at < old.next_run_at, ("p23", old, new)
        assert new.next_run_at == following(new, date), ("p23", old, new)
        assert new.last_run_at in (None, old.last_run_at), ("p23", old, new)


def following(schedule: ScheduleRecord, at: int) -> int:
    """The first occurrence after `at`."""
    after = datetime.fromtimestamp(at / 1000, UTC)
    if schedule.plan.zone != "UTC":
        after = after.astimezone(ZoneInfo(schedule.plan.zone))
    found = CronSim(schedule.cron, after)
    return next(ms for ms in (round(each.timestamp() * 1000) for each in found) if ms > at)
