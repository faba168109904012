"""Schedules: their commands, and the promises that they make.

Where slots are shared out, a promise may be in another slot than its schedule. It is then asked for
there, again after a restart, and the schedule goes on when it is known to exist.

An occurrence is a time of the cron line, in UTC. Its promise is created at the occurrence and times
out `promise_timeout` after it, however late the sweep is that makes it; one that is made after its
deadline is born settled.

Schedules run by the date, everything else by the machine's time, which nobody can set. The two are
the same unless the wall clock is set while the broker runs, or was wrong at an earlier start;
`State.ahead` says how far apart they are, and `follow` changes it. The times in a schedule are
dates; those of a promise, and of timers, are times of the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Final

from cronsim import CronSim, CronSimError

from understudy_store.commands import (
    PromiseOccur,
    Reply,
    ScheduleCreate,
    ScheduleDelete,
    ScheduleGet,
    ScheduleSearch,
)
from understudy_store.machine import promises
from understudy_store.machine.elsewhere import is_elsewhere
from understudy_store.machine.settlement import find
from understudy_store.machine.state import State
from understudy_store.machine.validation import (
    TIME_MS_MAX,
    Refusal,
    check_duration,
    check_id,
    check_page,
    check_promise,
    check_time,
)
from understudy_store.records import ScheduleRecord
from understudy_store.slots import slot_of

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_CRON_CHARS_MAX: Final = 256


def following(cron: str, after: int) -> int | None:
    """Return the first occurrence later than `after`, epoch milliseconds; None if there is none.

    Raises
    ------
    CronSimError
        If `cron` is not a cron line.
    """
    try:
        return (next(CronSim(cron, _EPOCH + after * _MS)) - _EPOCH) // _MS
    except (StopIteration, OverflowError):
        return None


@lru_cache(maxsize=1024)
def _template(text: str) -> str:
    """Check the template of an id; return it without its fields."""
    bare = text.replace("{id}", "").replace("{timestamp}", "")
    if "{" in bare or "}" in bare:
        raise Refusal(400, f"promise id {text!r}: only {{id}} and {{timestamp}} may be in braces")
    return bare


def promise_id(schedule: ScheduleRecord, occurrence: int) -> str:
    """Return the id of the promise of one occurrence."""
    # The id goes in last, because it may itself contain braces.
    text = schedule.promise_id.replace("{timestamp}", str(occurrence))
    return text.replace("{id}", schedule.id)


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
    check_id(s.limits, c.id, "schedule id")
    check_duration(c.promise_timeout, "promise_timeout", 1)
    _template(c.promise_id)
    next_run_at = _first(c.cron, now - s.ahead)
    schedule = ScheduleRecord(
        c.id,
        c.cron,
        c.promise_id,
        c.promise_timeout,
        c.promise_param,
        c.promise_tags,
        next_run_at,
        now,
    )
    # The longest id that it will make in the next few thousand years.
    sample = promise_id(schedule, 10**14)
    check_promise(s.limits, sample, next_run_at, c.promise_param, c.promise_tags, s.accepted)
    existing = s.schedules.get(c.id)
    if existing is not None:
        return Reply(200, schedule=existing)
    _check_room(s, c.cron)
    _put(s, schedule)
    return Reply(201, schedule=schedule)


def _check_room(s: State, cron: str) -> None:
    """Refuse a schedule if there are too many: what they make takes the broker's time."""
    if len(s.schedules) >= s.limits.schedules_max:
        raise Refusal(
            429,
            f"there are {s.limits.schedules_max:,} schedules, and no more are taken: delete some, "
            "or raise schedules_max",
        )
    most = s.limits.second_schedules_max
    if _says_seconds(cron):
        others = (each for each in s.schedules.values() if _says_seconds(each.cron))
        if sum(1 for _ in islice(others, most)) >= most:
            raise Refusal(
                429,
                f"there are {most:,} schedules whose cron lines say seconds, in the first of six "
                "fields, and no more are taken: give it five, delete some, or raise "
                "second_schedules_max",
            )


def _says_seconds(cron: str) -> bool:
    return len(cron.split()) > 5


def _first(cron: str, now: int) -> int:
    if len(cron) > _CRON_CHARS_MAX:
        raise Refusal(400, f"cron line has {len(cron)} characters; at most {_CRON_CHARS_MAX}")
    try:
        at = following(cron, now)
    except CronSimError as error:
        raise Refusal(400, f"cron line {cron!r}: {error}") from None
    if at is None:
        raise Refusal(400, f"cron line {cron!r} never comes due")
    return at


def _put(s: State, schedule: ScheduleRecord) -> None:
    s.schedules[schedule.id] = schedule
    s.schedules_dirty[schedule.id] = None
    s.occurrences.arm(schedule.next_run_at + s.ahead, schedule.id)


def follow(s: State, ahead: int, now: int) -> None:
    """Let schedules run by another date: that of `now`, less `ahead`.

    Where that sets the date back, occurrences that have been are due again. Their ids exist, so
    none of them makes a second promise, unless its promise was purged.
    """
    before, s.ahead = s.ahead, ahead
    for schedule in list(s.schedules.values()):
        disarm(s, schedule, before)
        enter(s, schedule, now)


def disarm(s: State, schedule: ScheduleRecord, ahead: int) -> None:
    """Undo what makes a schedule come due; `ahead` is that of the time when it was armed."""
    if s.occurring.pop(schedule.id, None) is None:
        s.occurrences.disarm(schedule.next_run_at + ahead, schedule.id)


def enter(s: State, schedule: ScheduleRecord, now: int) -> None:
    """Let a schedule that was stored run by the date of this machine, as it is from now on."""
    date = now - s.ahead
    last = schedule.last_run_at
    # Only then can the next occurrence be another one than it was.
    first = following(schedule.cron, date) if last is None or last > date else None
    if first is not None and first < schedule.next_run_at:
        last = None if last is None or last > date else last
        _put(s, _running(schedule, first, last))
    else:
        s.schedules[schedule.id] = schedule
        s.occurrences.arm(schedule.next_run_at + s.ahead, schedule.id)


def delete(s: State, c: ScheduleDelete, _now: int) -> Reply:
    """Delete the schedule; the promises that it made stay."""
    schedule = _require(s, c.id)
    del s.schedules[c.id]
    s.schedules_dirty[c.id] = None
    disarm(s, schedule, s.ahead)
    return Reply(200, schedule=schedule)


def search(s: State, c: ScheduleSearch, _now: int) -> Reply:
    """Check the search; the engine answers it."""
    check_page(s.limits, c.limit)
    return Reply(200)


def missed(schedule: ScheduleRecord, now: int, limit: int) -> Iterator[int]:
    """Yield the occurrences of a schedule that are due, at most `limit`."""
    at: int | None = schedule.next_run_at
    while at is not None and at <= now and limit > 0:
        yield at
        limit -= 1
        at = following(schedule.cron, at)


def due_lookups(s: State, now: int) -> set[str]:
    """Return the ids that the next sweep at `now` may create and that are not in memory."""
    s.occurrences_read.clear()
    if s.occurrences.next_at > now:
        return set()
    left = s.config.missed_max
    ids: set[str] = set()
    for schedule_id in s.occurrences.first(now, left):
        schedule = s.schedules[schedule_id]
        found = [promise_id(schedule, at) for at in missed(schedule, now - s.ahead, left)]
        slot = slot_of(schedule_id)
        ids.update(id_ for id_ in found if not is_elsewhere(s, id_, slot))
        s.occurrences_read[schedule_id] = len(found)
        left -= len(found)
        if left <= 0:
            break
    s.pinned.update(ids)
    return {each for each in ids if each not in s.promises and each not in s.packed}


def run(s: State, now: int, until: int, limit: int) -> int:
    """Create the promises of occurrences due at `until`, at most `limit`; return how many.

    `until` is the time that `due_lookups` was given: it may be before `now`. Only the occurrences
    that it has read are run, because of others it is not known whether their promises exist.
    """
    left = limit
    while left > 0 and (due := s.occurrences.first(until, 1)):
        schedule = s.schedules[due[0]]
        read = s.occurrences_read.pop(schedule.id, 0)
        if not read:
            break
        slot = slot_of(schedule.id)
        last: int | None = None
        for at in missed(schedule, until - s.ahead, min(left, read)):
            if is_elsewhere(s, promise_id(schedule, at), slot):
                break
            _occur(s, schedule, at, now)
            last = at
            left -= 1
        s.occurrences.disarm(schedule.next_run_at + s.ahead, schedule.id)
        if last is None:
            _occur_elsewhere(s, schedule)
            left -= 1
        else:
            _advance(s, schedule, last)
    return limit - left


def _advance(s: State, schedule: ScheduleRecord, last: int) -> None:
    """Let a schedule come due at the first occurrence after `last`."""
    _put(s, _running(schedule, following(schedule.cron, last) or TIME_MS_MAX, last))


def _occur_elsewhere(s: State, schedule: ScheduleRecord) -> None:
    """Have the next promise created in its own slot; the schedule goes on once it is."""
    at = schedule.next_run_at
    occurred_at = at + s.ahead
    s.occurring[schedule.id] = at
    s.occurrences_elsewhere.append(
        PromiseOccur(
            schedule.id,
            at,
            promise_id(schedule, at),
            occurred_at,
            occurred_at + schedule.promise_timeout,
            schedule.promise_param,
            schedule.promise_tags,
        )
    )


def occurred(s: State, schedule_id: str, date: int) -> None:
    """Note that the promise of an occurrence was created elsewhere."""
    if s.occurring.get(schedule_id) == date:
        del s.occurring[schedule_id]
        _advance(s, s.schedules[schedule_id], date)


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


def _occur(s: State, schedule: ScheduleRecord, at: int, now: int) -> None:
    # All of it was checked when the schedule was created, so a sweep refuses nothing.
    id_, occurred_at = promise_id(schedule, at), at + s.ahead
    if id_ not in s.promises and id_ not in s.packed:
        param, tags = schedule.promise_param, schedule.promise_tags
        timeout_at = occurred_at + schedule.promise_timeout
        promises.add(s, id_, timeout_at, param, tags, now, occurred_at)


def _running(schedule: ScheduleRecord, next_run_at: int, last: int | None) -> ScheduleRecord:
    return ScheduleRecord(
        schedule.id,
        schedule.cron,
        schedule.promise_id,
        schedule.promise_timeout,
        schedule.promise_param,
        schedule.promise_tags,
        next_run_at,
        schedule.created_at,
        last,
    )
