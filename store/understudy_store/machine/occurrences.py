"""Occurrences: when a schedule comes due next, and whether its last call is still under way.

A schedule has at most one timer. It is that of its next occurrence, or of the end of its pause; and
of now, if a call has waited for its predecessor, which has settled. A schedule has none while it is
paused without an end, while the promise of an occurrence is asked for in another slot, and while
its time zone is not known here: it then comes due when a broker takes over that knows it.

Whether the last call is under way is seen at once where it is in the slot of its schedule: what is
pending is in memory. In two cases the schedule *follows* its last call, to be told when it settles:

- A call waits for it. In the same slot `settlement` looks each id up in `State.followed`.
- It is in another slot. Then this slot listens to it, as for a task that waits for it (see
  `elsewhere`), and until it has heard of the end the call is taken to be under way. After a restart
  the slot asks again. So a call may be left out, or wait, although its predecessor has settled a
  moment before; no two are made that may not overlap.
"""

from __future__ import annotations

from datetime import tzinfo

from understudy_store.machine import cron, elsewhere
from understudy_store.machine.state import State
from understudy_store.machine.validation import TIME_MS_MAX
from understudy_store.records import ScheduleRecord
from understudy_store.slots import slot_of


def zone_of(s: State, schedule: ScheduleRecord) -> tzinfo | None:
    """Return the time zone of a schedule; None if it is not known here."""
    return s.config.zones(schedule.plan.zone)


def after(s: State, schedule: ScheduleRecord, date: int) -> int:
    """Return the first occurrence of a schedule after a date; a time that never comes if none."""
    zone = zone_of(s, schedule)
    if zone is None:
        return TIME_MS_MAX
    return cron.following(schedule.cron, date, zone) or TIME_MS_MAX


def offset(s: State, schedule: ScheduleRecord, at: int) -> int:
    """Return by how much the plan's jitter puts an occurrence off, milliseconds."""
    jitter = schedule.plan.jitter
    return cron.offset(schedule.id, at, after(s, schedule, at), jitter) if jitter else 0


# The timer ---------------------------------------------------------------------------------------


def arm(s: State, schedule: ScheduleRecord) -> None:
    """Make a schedule come due, if it does; it is not armed."""
    at = _due_at(s, schedule)
    if at is not None:
        s.occurs_at[schedule.id] = at
        s.occurrences.arm(at, schedule.id)


def disarm(s: State, schedule_id: str) -> None:
    """Undo `arm`."""
    at = s.occurs_at.pop(schedule_id, None)
    if at is not None:
        s.occurrences.disarm(at, schedule_id)


def _due_at(s: State, schedule: ScheduleRecord) -> int | None:
    """Return when a schedule comes due, by the machine's time; None: not by itself."""
    course = schedule.course
    if schedule.id in s.occurring:
        return None
    if may_go(s, schedule):
        return s.now
    if course.paused_at is not None:
        return None if course.paused_until is None else course.paused_until + s.ahead
    if zone_of(s, schedule) is None:
        return None
    at = schedule.next_run_at
    return at + offset(s, schedule, at) + s.ahead


def may_go(s: State, schedule: ScheduleRecord) -> bool:
    """Return whether a call has waited for its predecessor, which has settled."""
    course = schedule.course
    if course.waiting is None:
        return False
    followers = s.followed.get(course.last_id or "", ())
    return schedule.id not in followers


# The last call -----------------------------------------------------------------------------------


def follow(s: State, schedule: ScheduleRecord) -> None:
    """Have a schedule told when its last call settles, if it needs to be."""
    last_id = followed_id(s, schedule)
    if last_id is None:
        return
    slot = slot_of(schedule.id)
    if elsewhere.is_elsewhere(s, last_id, slot):
        elsewhere.ask(s, last_id, slot)
    elif not is_live(s, last_id):
        return
    s.followed.setdefault(last_id, {})[schedule.id] = None


def unfollow(s: State, schedule: ScheduleRecord) -> None:
    """Undo `follow`."""
    last_id = followed_id(s, schedule)
    followers = s.followed.get(last_id or "")
    if last_id is not None and followers is not None:
        followers.pop(schedule.id, None)
        if not followers:
            del s.followed[last_id]


def followed_id(s: State, schedule: ScheduleRecord) -> str | None:
    """Return the id of the call that a schedule needs to be told of; None: of none."""
    course = schedule.course
    last_id = course.last_id
    if last_id is None or schedule.plan.overlap == "allow":
        return None
    waits = course.waiting is not None
    is_far = elsewhere.is_elsewhere(s, last_id, slot_of(schedule.id))
    return last_id if waits or is_far else None


def is_live(s: State, promise_id: str) -> bool:
    """Return whether a promise of this slot was pending when it was looked at last."""
    if promise_id in s.packed:
        return True
    promise = s.promises.get(promise_id)
    return promise is not None and promise.record.settled_at is None


def settled(s: State, promise_id: str, slot: int) -> None:
    """Let calls go on that have waited for a promise, which has settled, or does not exist."""
    followers = s.followed.get(promise_id)
    if followers is None:
        return
    is_sharded = s.config.sharded
    for schedule_id in [each for each in followers if not is_sharded or slot_of(each) == slot]:
        del followers[schedule_id]
        s.occurrences_read.pop(schedule_id, None)
        disarm(s, schedule_id)
        arm(s, s.schedules[schedule_id])
    if not followers:
        del s.followed[promise_id]
