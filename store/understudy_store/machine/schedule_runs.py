"""Runs of schedules: the calls that they make when they are due.

Where slots are shared out, a promise may be in another slot than its schedule. It is then asked for
there, again after a restart, and the schedule goes on when it is known to exist.

An occurrence is a time of the cron line. Its promise is created at the occurrence, plus what the
jitter puts it off, and times out `promise_timeout` after that, however late the sweep is that makes
it; one that is made after its deadline is born settled. A call that has waited for its predecessor,
or that was asked for (`ScheduleTrigger`), is created when it is made.

Occurrences that are more than `LATE_MS` late count as missed, and the plan says what is made of
them. What is left out is left out at once, however many they are.

**What is not perfect.** A schedule knows only the last of its calls. If two run at a time, because
its plan allowed that before, or the first of them was asked for, the other one counts no more. And
if the rules of a zone change, what was due by the old ones may be due again by the new ones.
"""

from __future__ import annotations

from datetime import UTC
from typing import Final

from msgspec.structs import replace

from understudy_store.commands import PromiseOccur, PromiseSupersede, Reply, ScheduleTrigger
from understudy_store.machine import cron, occurrences, promises
from understudy_store.machine.elsewhere import is_elsewhere
from understudy_store.machine.settlement import cancel, find
from understudy_store.machine.state import Due, State
from understudy_store.machine.validation import check_promise, check_time
from understudy_store.records import EMPTY, ScheduleCourse, ScheduleRecord
from understudy_store.slots import slot_of

#: so late an occurrence may be until it counts as missed: longer than a broker is ever busy
LATE_MS: Final = 10_000


def promise_id(schedule: ScheduleRecord, occurrence: int) -> str:
    """Return the id of the promise of one occurrence."""
    return _id_of(schedule.promise_id, schedule.id, occurrence)


def _id_of(template: str, schedule_id: str, occurrence: int) -> str:
    # The id goes in last, because it may itself contain braces.
    return template.replace("{timestamp}", str(occurrence)).replace("{id}", schedule_id)


def put(s: State, schedule: ScheduleRecord) -> None:
    """Store a schedule that is new or has changed, and let it come due."""
    old = s.schedules.get(schedule.id)
    # What was read for it may not be what it makes now.
    s.occurrences_read.pop(schedule.id, None)
    s.schedules[schedule.id] = schedule
    s.schedules_dirty[schedule.id] = None
    occurrences.disarm(s, schedule.id)
    followed = occurrences.followed_id(s, schedule)
    if old is None or occurrences.followed_id(s, old) != followed:
        if old is not None:
            occurrences.unfollow(s, old)
        occurrences.follow(s, schedule)
    waited = None if old is None else old.course.waiting
    if schedule.course.waiting not in (None, waited):
        _cancel_elsewhere(s, schedule)
    occurrences.arm(s, schedule)


def remove(s: State, schedule: ScheduleRecord) -> None:
    """Forget a schedule, which is deleted, or leaves this machine."""
    del s.schedules[schedule.id]
    s.occurrences_read.pop(schedule.id, None)
    s.occurring.pop(schedule.id, None)
    occurrences.disarm(s, schedule.id)
    occurrences.unfollow(s, schedule)


# The date ----------------------------------------------------------------------------------------


def follow(s: State, ahead: int, now: int) -> None:
    """Let schedules run by another date: that of `now`, less `ahead`.

    Where that sets the date back, occurrences that have been are due again. Their ids exist, so
    none of them makes a second promise, unless its promise was purged.
    """
    s.ahead = ahead
    for schedule in list(s.schedules.values()):
        s.occurring.pop(schedule.id, None)
        changed = _by_date(s, schedule, now - ahead)
        if changed is None:
            occurrences.disarm(s, schedule.id)
            occurrences.arm(s, schedule)
        else:
            put(s, changed)


def enter(s: State, schedule: ScheduleRecord, now: int) -> None:
    """Let a schedule that was stored run by the date of this machine, as it is from now on."""
    changed = _by_date(s, schedule, now - s.ahead)
    if changed is None:
        changed = schedule
    else:
        s.schedules_dirty[schedule.id] = None
    s.schedules[schedule.id] = changed
    occurrences.follow(s, changed)
    if changed.course.waiting is not None:
        _cancel_elsewhere(s, changed)
    occurrences.arm(s, changed)


def _by_date(s: State, schedule: ScheduleRecord, date: int) -> ScheduleRecord | None:
    """Return a schedule with its next occurrence, if that is another one than it was."""
    zone = occurrences.zone_of(s, schedule)
    if zone is None:
        return None
    last, course = schedule.last_run_at, schedule.course
    is_ahead = last is not None and last > date
    # Only then can the date have been set back to before its next occurrence.
    first = cron.following(schedule.cron, date, zone) if last is None or is_ahead else None
    if first is not None and (is_ahead or first < schedule.next_run_at):
        if course.since:
            course = replace(course, since=date)
        return replace(schedule, next_run_at=first, last_run_at=None, course=course)
    if zone is UTC or not course.since:
        return None
    # The rules of the zone may have changed since the next occurrence was found by them.
    again = occurrences.after(s, schedule, max(course.since, last or 0))
    return None if again == schedule.next_run_at else replace(schedule, next_run_at=again)


# What is due -------------------------------------------------------------------------------------


def _due(s: State, schedule: ScheduleRecord, date: int, limit: int) -> Due:
    """Return what a schedule that has come due has to do, at most `limit` occurrences."""
    course = schedule.course
    if course.waiting is not None and occurrences.may_go(s, schedule):
        return Due((course.waiting,))
    if course.paused_at is not None:
        return Due(())
    at, missed = schedule.next_run_at, None
    late_by = date - at - occurrences.offset(s, schedule, at)
    if schedule.plan.catch_up != "all" and late_by > LATE_MS:
        at, missed = _within_window(s, schedule, date)
    dates: list[int] = []
    while at + occurrences.offset(s, schedule, at) <= date and len(dates) < limit:
        dates.append(at)
        at = occurrences.after(s, schedule, at)
    return Due(tuple(dates), missed)


def _within_window(s: State, schedule: ScheduleRecord, date: int) -> tuple[int, int | None]:
    """Return the first occurrence that is made, and the last before it that was missed."""
    zone, plan = occurrences.zone_of(s, schedule), schedule.plan
    assert zone is not None
    # What the jitter puts off is not missed by that.
    until = date - LATE_MS - 1 - plan.jitter
    if isinstance(plan.catch_up, int):
        until = min(until, date - plan.catch_up - 1 - plan.jitter)
    missed = cron.preceding(schedule.cron, until, zone)
    if missed is not None and plan.catch_up == "last":
        missed = cron.preceding(schedule.cron, missed - 1, zone)
    if missed is None or missed < schedule.next_run_at:
        return schedule.next_run_at, None
    return occurrences.after(s, schedule, missed), missed


def due_lookups(s: State, now: int) -> set[str]:
    """Return the ids that the next sweep at `now` may create and that are not in memory."""
    s.occurrences_read.clear()
    if s.occurrences.next_at > now:
        return set()
    left = s.config.missed_max
    ids: set[str] = set()
    for schedule_id in s.occurrences.first(now, left):
        schedule = s.schedules[schedule_id]
        due = _due(s, schedule, now - s.ahead, left)
        slot = slot_of(schedule_id)
        found = [promise_id(schedule, at) for at in due.dates]
        ids.update(id_ for id_ in found if not is_elsewhere(s, id_, slot))
        s.occurrences_read[schedule_id] = due
        left -= max(1, len(found))
        if left <= 0:
            break
    s.pinned.update(ids)
    return {each for each in ids if each not in s.promises and each not in s.packed}


# Runs --------------------------------------------------------------------------------------------


def run(s: State, now: int, until: int, limit: int) -> int:
    """Act on occurrences due at `until`, at most `limit`; return how many.

    `until` is the time that `due_lookups` was given: it may be before `now`. Only the occurrences
    that it has read are run, because of others it is not known whether their promises exist.
    """
    left = limit
    while left > 0 and (ids := s.occurrences.first(until, 1)):
        schedule = s.schedules[ids[0]]
        due = s.occurrences_read.pop(schedule.id, None)
        if due is None:
            break
        dates = due.dates[:left]
        left -= max(1, len(dates))
        if schedule.course.waiting is not None and dates == (schedule.course.waiting,):
            _run_waiting(s, schedule, dates[0], now)
        elif schedule.course.paused_at is not None:
            assert schedule.course.paused_until is not None
            put(s, resumed(s, schedule, schedule.course.paused_until - 1))
        else:
            _run(s, schedule, due._replace(dates=dates), now)
    return limit - left


def _run(s: State, schedule: ScheduleRecord, due: Due, now: int) -> None:
    """Make the calls of occurrences, as far as the plan has it."""
    course, last, asked = schedule.course, schedule.last_run_at, None
    if due.missed is not None:
        course, last = _skipped(course, due.missed, "missed"), due.missed
    for at in due.dates:
        id_ = promise_id(schedule, at)
        is_far = is_elsewhere(s, id_, slot_of(schedule.id))
        if is_far or (id_ not in s.promises and id_ not in s.packed):
            verdict = _overlap(s, schedule, course, id_, now)
            if verdict == "skip":
                course = _skipped(course, at, "overlap")
            elif verdict == "wait":
                if course.waiting is not None:
                    course = _skipped(course, course.waiting, "overlap")
                course = replace(course, waiting=at)
            elif is_far:
                asked = at
                break
            else:
                occurred_at = at + occurrences.offset(s, schedule, at) + s.ahead
                _make(s, schedule, id_, occurred_at, now)
                course = replace(course, last_id=id_)
        last = at
    if last is not None and last != schedule.last_run_at:
        schedule = advanced(s, schedule, course, last)
        put(s, schedule)
    if asked is not None:
        occurred_at = asked + occurrences.offset(s, schedule, asked) + s.ahead
        _make_elsewhere(s, schedule, asked, occurred_at)


def _run_waiting(s: State, schedule: ScheduleRecord, at: int, now: int) -> None:
    """Make a call that has waited for its predecessor."""
    id_ = promise_id(schedule, at)
    if is_elsewhere(s, id_, slot_of(schedule.id)):
        _make_elsewhere(s, schedule, at, now)
        return
    if id_ not in s.promises and id_ not in s.packed:
        _make(s, schedule, id_, now, now)
    put(s, replace(schedule, course=replace(schedule.course, waiting=None, last_id=id_)))


def _overlap(s: State, schedule: ScheduleRecord, course: ScheduleCourse, id_: str, now: int) -> str:
    """Return what is to be done with a call, by those before it: make, skip or wait.

    With "make", a predecessor that was to be canceled is.
    """
    overlap, last_id = schedule.plan.overlap, course.last_id
    if overlap == "allow" or last_id == id_:
        return "make"
    waits = course.waiting is not None
    is_far = last_id is not None and _is_far(s, schedule, last_id)
    promise = None if last_id is None or is_far else find(s, last_id, now)
    if is_far:
        is_running = schedule.id in s.followed.get(last_id or "", ())
    else:
        is_running = promise is not None and promise.record.settled_at is None
    if not is_running and not waits:
        return "make"
    if overlap == "cancel_other":
        if is_running and promise is not None:
            cancel(s, promise, EMPTY, now)
            is_running = False
        return "wait" if is_running or waits else "make"
    return "skip" if overlap == "skip" or waits else "wait"


def _is_far(s: State, schedule: ScheduleRecord, promise: str) -> bool:
    return is_elsewhere(s, promise, slot_of(schedule.id))


def _make(s: State, schedule: ScheduleRecord, id_: str, created_at: int, now: int) -> None:
    # All of it was checked when the schedule was created, so a sweep refuses nothing.
    param, tags = schedule.promise_param, schedule.promise_tags
    timeout_at = created_at + schedule.promise_timeout
    promises.add(s, id_, timeout_at, param, tags, now, created_at)


def _make_elsewhere(s: State, schedule: ScheduleRecord, at: int, created_at: int) -> None:
    """Have a promise created in its own slot; the schedule goes on once it is."""
    occurrences.disarm(s, schedule.id)
    command = PromiseOccur(
        schedule.id,
        at,
        promise_id(schedule, at),
        created_at,
        created_at + schedule.promise_timeout,
        schedule.promise_param,
        schedule.promise_tags,
    )
    s.occurring[schedule.id] = command
    s.occurrences_elsewhere.append(command)


def _cancel_elsewhere(s: State, schedule: ScheduleRecord) -> None:
    """Have the last call canceled for which a call waits, if that is so and it is elsewhere."""
    last_id = schedule.course.last_id
    if (
        schedule.plan.overlap == "cancel_other"
        and last_id is not None
        and _is_far(s, schedule, last_id)
        and schedule.id in s.followed.get(last_id, ())
    ):
        s.cancels_elsewhere.append(PromiseSupersede(schedule.id, last_id))


def occurred(s: State, schedule_id: str, date: int) -> None:
    """Note that the promise of an occurrence was created elsewhere."""
    command = s.occurring.get(schedule_id)
    if command is None or command.date != date:
        return
    del s.occurring[schedule_id]
    schedule = s.schedules[schedule_id]
    course = replace(schedule.course, last_id=command.id)
    if schedule.course.waiting == date:
        put(s, replace(schedule, course=replace(course, waiting=None)))
    elif schedule.next_run_at == date:
        put(s, advanced(s, schedule, course, date))
    else:  # It was changed meanwhile, and is due at other times.
        put(s, replace(schedule, course=course))


def occur(s: State, c: PromiseOccur, now: int) -> Reply:
    """Create the promise of an occurrence of a schedule in another slot, unless it exists."""
    check_promise(s.limits, c.id, c.timeout_at, c.param, c.tags, s.accepted)
    check_time(c.created_at, "created_at")
    promise = find(s, c.id, now)
    if promise is not None:
        return Reply(200)
    # Brokers' clocks may differ by a little, and nothing was created later than now.
    created_at = min(c.created_at, now)
    timeout_at = max(c.timeout_at, created_at)
    promises.add(s, c.id, timeout_at, c.param, c.tags, now, created_at)
    return Reply(201)


def supersede(s: State, c: PromiseSupersede, now: int) -> Reply:
    """Cancel a call of a schedule in another slot, if there is one: the next takes its place."""
    promise = find(s, c.id, now)
    if promise is not None and promise.record.settled_at is None:
        cancel(s, promise, EMPTY, now)
    return Reply(200)


def triggered(s: State, c: ScheduleTrigger) -> tuple[str, ...]:
    """Return the ids of the promises in this slot, one of which a trigger may make.

    It is the schedule as it is, or as a command of the same batch is to make it.
    """
    schedule = s.schedules.get(c.id)
    templates = s.new_templates.get(c.id, {}) | (
        {} if schedule is None else {schedule.promise_id: None}
    )
    ids = [_id_of(template, c.id, c.date) for template in templates]
    slot = slot_of(c.id)
    return tuple(id_ for id_ in ids if not is_elsewhere(s, id_, slot))


def trigger(s: State, schedule: ScheduleRecord, date: int, now: int) -> str | None:
    """Make a call now, or as soon as its predecessor lets it; return why not, if so."""
    id_, course = promise_id(schedule, date), schedule.course
    if course.waiting == date or course.last_id == id_:
        return None
    verdict = "wait" if schedule.id in s.occurring else _overlap(s, schedule, course, id_, now)
    if verdict == "make" and not _is_far(s, schedule, id_):
        _make(s, schedule, id_, now, now)
        put(s, replace(schedule, course=replace(course, last_id=id_)))
        return None
    if verdict == "skip" or (course.waiting is not None and verdict != "make"):
        return f"its last call, {course.last_id!r}, has not settled yet"
    if course.waiting is not None:
        return "another call of it is about to be made"
    put(s, replace(schedule, course=replace(course, waiting=date)))
    return None


# Records -----------------------------------------------------------------------------------------


def advanced(
    s: State, schedule: ScheduleRecord, course: ScheduleCourse, last: int
) -> ScheduleRecord:
    """Return a schedule that comes due at the first occurrence after `last`."""
    next_run_at = occurrences.after(s, schedule, last)
    return replace(schedule, next_run_at=next_run_at, last_run_at=last, course=course)


def resumed(s: State, schedule: ScheduleRecord, since: int) -> ScheduleRecord:
    """Return a schedule that is paused no longer, and goes on after a date."""
    next_run_at = occurrences.after(s, schedule, since)
    course = replace(
        schedule.course, since=since, paused_at=None, paused_until=None, pause_reason=""
    )
    if next_run_at > schedule.next_run_at:
        course = _skipped(course, schedule.next_run_at, "paused")
    return replace(schedule, next_run_at=next_run_at, course=course)


def _skipped(course: ScheduleCourse, at: int, why: str) -> ScheduleCourse:
    return replace(course, skipped_at=at, skipped_why=why)
