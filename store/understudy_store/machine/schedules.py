"""The commands of schedules. What they make when they are due: see `schedule_runs`.

Schedules run by the date, everything else by the machine's time, which nobody can set. The two are
the same unless the wall clock is set while the broker runs, or was wrong at an earlier start;
`State.ahead` says how far apart they are, and `follow` changes it. The times in a schedule are
dates; those of a promise, and of timers, are times of the machine.

A cron line is read in the time zone of the schedule's plan. Data of time zones is given to the
machine (`MachineConfig.zones`). The next occurrence is stored, so brokers whose data differs
disagree only about those after it; a schedule is in one slot, and so at one broker at a time.
"""

from __future__ import annotations

from datetime import tzinfo
from functools import lru_cache
from itertools import islice
from typing import Final

from msgspec.structs import replace

from understudy_store.commands import (
    Reply,
    ScheduleCreate,
    ScheduleDelete,
    ScheduleGet,
    ScheduleNext,
    SchedulePause,
    SchedulePut,
    ScheduleResume,
    ScheduleSearch,
    ScheduleTrigger,
    ScheduleUpdate,
)
from understudy_store.machine import cron, occurrences, promises, schedule_runs
from understudy_store.machine.elsewhere import is_elsewhere
from understudy_store.machine.schedule_runs import promise_id
from understudy_store.machine.settlement import find
from understudy_store.machine.state import State
from understudy_store.machine.validation import (
    TIME_MS_MAX,
    Refusal,
    check_cause,
    check_duration,
    check_id,
    check_page,
    check_promise,
    check_time,
)
from understudy_store.records import (
    CATCH_UPS,
    COURSE,
    OVERLAPS,
    PLAN,
    ScheduleCourse,
    SchedulePlan,
    ScheduleRecord,
)
from understudy_store.slots import slot_of

_CRON_CHARS_MAX: Final = 256
_ZONE_CHARS_MAX: Final = 64
#: times that one command asks for: finding one takes 10 µs, rarely 200
TIMES_MAX: Final = 100
_SECOND_MS: Final = 1000


@lru_cache(maxsize=1024)
def _template(text: str) -> str:
    """Check the template of an id; return it without its fields."""
    bare = text.replace("{id}", "").replace("{timestamp}", "")
    if "{" in bare or "}" in bare:
        raise Refusal(400, f"promise id {text!r}: only {{id}} and {{timestamp}} may be in braces")
    return bare


def get(s: State, c: ScheduleGet, _now: int) -> Reply:
    """Return the record."""
    return Reply(200, schedule=_require(s, c.id))


def _require(s: State, schedule_id: str) -> ScheduleRecord:
    schedule = s.schedules.get(schedule_id)
    if schedule is None:
        raise Refusal(404, f"schedule {schedule_id!r} does not exist")
    return schedule


def create(s: State, c: ScheduleCreate, now: int) -> Reply:
    """Create the schedule, or return the one that has this id."""
    return _create(s, c, PLAN, COURSE, now)


def put(s: State, c: SchedulePut, now: int) -> Reply:
    """Create the schedule with a plan, or return or replace the one that has this id."""
    existing = s.schedules.get(c.id) if c.replace else None
    if existing is None:
        return _create(s, c, c.plan, ScheduleCourse(since=now - s.ahead), now)
    made = _checked(s, c, c.plan, existing.course, now)
    changed = replace(made, created_at=existing.created_at)
    return _change(s, existing, changed, now)


def _create(
    s: State,
    c: ScheduleCreate | SchedulePut,
    plan: SchedulePlan,
    course: ScheduleCourse,
    now: int,
) -> Reply:
    schedule = _checked(s, c, plan, course, now)
    existing = s.schedules.get(c.id)
    if existing is not None:
        return Reply(200, schedule=existing)
    _check_room(s, c.cron)
    schedule_runs.put(s, schedule)
    return Reply(201, schedule=schedule)


def _checked(
    s: State,
    c: ScheduleCreate | SchedulePut,
    plan: SchedulePlan,
    course: ScheduleCourse,
    now: int,
) -> ScheduleRecord:
    """Check the fields of a schedule; return it as it is if it begins now."""
    check_id(s.limits, c.id, "schedule id")
    check_duration(c.promise_timeout, "promise_timeout", 1)
    _template(c.promise_id)
    zone = _check_plan(s, plan)
    next_run_at = _first(c.cron, now - s.ahead, zone)
    schedule = ScheduleRecord(
        c.id,
        c.cron,
        c.promise_id,
        c.promise_timeout,
        c.promise_param,
        c.promise_tags,
        next_run_at,
        now,
        None,
        plan,
        course,
    )
    # The longest id that it will make in the next few thousand years.
    sample = promise_id(schedule, 10**14)
    check_promise(s.limits, sample, next_run_at, c.promise_param, c.promise_tags, s.accepted)
    return schedule


def _check_plan(s: State, plan: SchedulePlan) -> tzinfo:
    """Check a plan; return its time zone."""
    known = s.config.zones(plan.zone) if len(plan.zone) <= _ZONE_CHARS_MAX else None
    if known is None:
        raise Refusal(
            400,
            f"time zone {plan.zone[:_ZONE_CHARS_MAX]!r} is not known to the broker: it has a name "
            "of the IANA database, as 'Europe/Vienna'",
        )
    if plan.overlap not in OVERLAPS:
        raise Refusal(400, f"overlap {plan.overlap[:80]!r} is none of {', '.join(OVERLAPS)}")
    if isinstance(plan.catch_up, int):
        check_duration(plan.catch_up, "catch_up", 0)
    elif plan.catch_up not in CATCH_UPS:
        raise Refusal(
            400, f"catch_up {plan.catch_up[:80]!r} is none of {', '.join(CATCH_UPS)}, or a duration"
        )
    check_duration(plan.jitter, "jitter", 0)
    return known


def _check_room(s: State, cron_line: str) -> None:
    """Refuse a schedule if there are too many: what they make takes the broker's time."""
    if len(s.schedules) >= s.limits.schedules_max:
        raise Refusal(
            429,
            f"there are {s.limits.schedules_max:,} schedules, and no more are taken: delete some, "
            "or raise schedules_max",
        )
    _check_seconds(s, cron_line)


def _check_seconds(s: State, cron_line: str) -> None:
    most = s.limits.second_schedules_max
    if _says_seconds(cron_line):
        others = (each for each in s.schedules.values() if _says_seconds(each.cron))
        if sum(1 for _ in islice(others, most)) >= most:
            raise Refusal(
                429,
                f"there are {most:,} schedules whose cron lines say seconds, in the first of six "
                "fields, and no more are taken: give it five, delete some, or raise "
                "second_schedules_max",
            )


def _says_seconds(cron_line: str) -> bool:
    return len(cron_line.split()) > 5


def _first(cron_line: str, date: int, zone: tzinfo) -> int:
    if len(cron_line) > _CRON_CHARS_MAX:
        raise Refusal(400, f"cron line has {len(cron_line)} characters; at most {_CRON_CHARS_MAX}")
    try:
        at = cron.following(cron_line, date, zone)
    except cron.CronSimError as error:
        raise Refusal(400, f"cron line {cron_line!r}: {error}") from None
    if at is None:
        raise Refusal(400, f"cron line {cron_line!r} never comes due")
    return at


# Changes -----------------------------------------------------------------------------------------


def update(s: State, c: ScheduleUpdate, now: int) -> Reply:
    """Change when a schedule is due, and its rules."""
    existing = _require(s, c.id)
    plan = existing.plan
    plan = SchedulePlan(
        plan.zone if c.zone is None else c.zone,
        plan.overlap if c.overlap is None else c.overlap,
        plan.catch_up if c.catch_up is None else c.catch_up,
        plan.jitter if c.jitter is None else c.jitter,
    )
    zone = _check_plan(s, plan)
    cron_line = existing.cron if c.cron is None else c.cron
    next_run_at = _first(cron_line, now - s.ahead, zone)
    timeout = existing.promise_timeout
    if c.promise_timeout is not None:
        timeout = c.promise_timeout
        check_duration(timeout, "promise_timeout", 1)
    changed = replace(
        existing, cron=cron_line, promise_timeout=timeout, plan=plan, next_run_at=next_run_at
    )
    return _change(s, existing, changed, now)


def _change(s: State, old: ScheduleRecord, new: ScheduleRecord, now: int) -> Reply:
    """Put a schedule in the place of another; occurrences count from now if these are others."""
    date = now - s.ahead
    if _says_seconds(new.cron) and not _says_seconds(old.cron):
        _check_seconds(s, new.cron)
    if (new.cron, new.plan.zone) == (old.cron, old.plan.zone):
        new = replace(new, next_run_at=old.next_run_at, last_run_at=old.last_run_at)
    else:
        last = old.last_run_at
        last = None if last is not None and last > date else last
        course = replace(new.course, since=date)
        new = replace(new, last_run_at=last, course=course)
    if new != old:
        schedule_runs.put(s, new)
    return Reply(200, schedule=new)


def delete(s: State, c: ScheduleDelete, _now: int) -> Reply:
    """Delete the schedule; the promises that it made stay."""
    schedule = _require(s, c.id)
    schedule_runs.remove(s, schedule)
    s.schedules_dirty[c.id] = None
    return Reply(200, schedule=schedule)


def pause(s: State, c: SchedulePause, now: int) -> Reply:
    """Let the schedule make no calls; one that waits is left out."""
    schedule, date = _require(s, c.id), now - s.ahead
    check_cause(s.limits, c.reason, "reason")
    if c.until is not None:
        check_time(c.until, "until")
        if c.until <= date:
            raise Refusal(400, "until is over: a pause ends later than now")
    course = schedule.course
    paused_at = date if course.paused_at is None else course.paused_at
    if course.waiting is not None:
        course = replace(course, waiting=None, skipped_at=course.waiting, skipped_why="paused")
    course = replace(course, paused_at=paused_at, paused_until=c.until, pause_reason=c.reason)
    if course != schedule.course:
        schedule = replace(schedule, course=course)
        schedule_runs.put(s, schedule)
    return Reply(200, schedule=schedule)


def resume(s: State, c: ScheduleResume, now: int) -> Reply:
    """Let the schedule go on with the next occurrence."""
    schedule = _require(s, c.id)
    if schedule.course.paused_at is not None:
        schedule = schedule_runs.resumed(s, schedule, now - s.ahead)
        schedule_runs.put(s, schedule)
    return Reply(200, schedule=schedule)


def trigger(s: State, c: ScheduleTrigger, now: int) -> Reply:
    """Make a call now, as far as those before it let it."""
    schedule = _require(s, c.id)
    check_time(c.date, "date")
    if c.date % _SECOND_MS == 0:
        raise Refusal(
            400, f"date {c.date} is a whole second, as occurrences have them: give others"
        )
    id_ = promise_id(schedule, c.date)
    if not is_elsewhere(s, id_, slot_of(c.id)):
        if id_ not in s.looked_up:
            raise Refusal(409, f"schedule {c.id!r} has just been changed: ask again")
        promise = find(s, id_, now)
        if promise is not None:
            promises.check_not_gone(promise)
            return Reply(200, None, promise.record, schedule=schedule)
    refusal = schedule_runs.trigger(s, schedule, c.date, now)
    if refusal is not None:
        raise Refusal(409, f"schedule {c.id!r} makes no call now: {refusal}")
    made = s.promises.get(id_)
    record = None if made is None else made.record
    return Reply(200 if made is None else 201, None, record, schedule=s.schedules[c.id])


# Questions ---------------------------------------------------------------------------------------


def next_(s: State, c: ScheduleNext, now: int) -> Reply:
    """Return the next occurrences."""
    schedule, date = _require(s, c.id), now - s.ahead
    if not 1 <= c.count <= TIMES_MAX:
        raise Refusal(400, f"count {c.count} is not between 1 and {TIMES_MAX}")
    # While it is paused its next occurrence may be over, or before the end of the pause.
    paused, until = schedule.course.paused_at is not None, schedule.course.paused_until
    at = schedule.next_run_at
    if paused:
        at = occurrences.after(s, schedule, date if until is None else until - 1)
    times: list[int] = []
    while at != TIME_MS_MAX and len(times) < c.count:
        times.append(at)
        at = occurrences.after(s, schedule, at)
    return Reply(200, schedule=schedule, times=times)


def search(s: State, c: ScheduleSearch, _now: int) -> Reply:
    """Check the search; the engine answers it."""
    check_page(s.limits, c.limit)
    return Reply(200)
