"""The properties of states: what holds in every view."""

from __future__ import annotations

from typing import Final
from zlib import crc32

from tests.unit.store.machine.views import View
from understudy_store.addresses import slot_of_address
from understudy_store.machine import Machine
from understudy_store.machine.packed import all_promises
from understudy_store.records import (
    EMPTY,
    PENDING,
    TAG_TARGET,
    TAG_TIMER,
    TIMEDOUT,
    ScheduleRecord,
    is_external,
)
from understudy_store.slots import home_of, slot_of


def p01(v: View) -> None:
    """`settled_at` is set exactly when not pending; a pending promise has no value."""
    for p in v.promises.values():
        assert (p.settled_at is not None) == (p.state != PENDING), ("p01", p)
        assert p.state != PENDING or p.value == EMPTY, ("p01", p)


def p02(v: View) -> None:
    """`created_at <= settled_at <= timeout_at`; pending: `created_at < timeout_at`."""
    for p in v.promises.values():
        if p.settled_at is None:
            assert p.created_at < p.timeout_at, ("p02", p)
        else:
            assert p.created_at <= p.settled_at <= p.timeout_at, ("p02", p)


def p03(v: View) -> None:
    """`rejected_timedout` is at the deadline."""
    for p in v.promises.values():
        assert p.state != TIMEDOUT or p.settled_at == p.timeout_at, ("p03", p)


def p07(v: View) -> None:
    """Callbacks and listeners are on external pending promises, unique, never self."""
    for awaited, awaiters in v.callbacks.items():
        p = v.promises[awaited]
        assert p.state == PENDING, ("p07", p)
        assert is_external(p), ("p07", p)
        assert len(set(awaiters)) == len(awaiters), ("p07", awaited, awaiters)
        assert awaited not in awaiters, ("p07", awaited)
        # an awaiter that has left memory has settled; what is in memory can be looked at
        for each in awaiters:
            assert each not in v.promises or each in v.tasks, ("p07", each)
    for awaited, addresses in v.listeners.items():
        p = v.promises[awaited]
        assert p.state == PENDING, ("p07", p)
        # A slot may listen to any promise.
        slots = [each for each in addresses if slot_of_address(each) is not None]
        assert is_external(p) or len(slots) == len(addresses), ("p07", p)
        assert len(set(addresses)) == len(addresses), ("p07", awaited, addresses)


def p08(v: View) -> None:
    """A task exists for the targeted, and is fulfilled exactly when the promise has settled."""
    for key, p in v.promises.items():
        assert (key in v.tasks) == (TAG_TARGET in p.tags), ("p08", p)
        if key in v.tasks:
            assert (v.tasks[key].state == "fulfilled") == (p.state != PENDING), ("p08", p)


def p09(v: View) -> None:
    """What a task holds is a function of its state."""
    for t in v.tasks.values():
        lease = (t.pid is not None, t.ttl is not None, t.expires_at is not None)
        assert lease == ((t.state == "acquired",) * 3), ("p09", t)
        assert (t.retry_at is not None) == (t.state == "pending"), ("p09", t)
        assert t.version >= 1 or t.state != "acquired", ("p09", t)


def p12(v: View) -> None:
    """A live suspended task has a callback on a pending promise, or waits for one elsewhere."""
    awaiters = {each for awaiters in v.callbacks.values() for each in awaiters}
    for t in v.tasks.values():
        assert t.state != "suspended" or t.id in awaiters or t.awaits, ("p12", t)


def p18(v: View) -> None:
    """No settled promise retains a callback or a listener (see also `check_swept`)."""
    for awaited in (*v.callbacks, *v.listeners):
        assert v.pending(awaited), ("p18", awaited)


def p19(v: View) -> None:
    """Who has deaths has a cause."""
    for t in v.tasks.values():
        assert t.deaths >= 0, ("p19", t)
        assert t.deaths == 0 or t.cause, ("p19", t)


def p22(v: View) -> None:
    """A task that waits, or is over, has nothing to learn."""
    for t in v.tasks.values():
        assert not t.resumes or t.state not in ("suspended", "fulfilled"), ("p22", t)


def p23(v: View) -> None:
    """A schedule ran before it runs next."""
    for each in v.schedules.values():
        check_schedule(each)


def check_schedule(schedule: ScheduleRecord) -> None:
    """Check p23 for one schedule."""
    last = schedule.last_run_at
    assert last is None or last < schedule.next_run_at, ("p23", schedule)


def p24(v: View) -> None:
    """Nothing was created or has settled later than now."""
    for p in v.promises.values():
        assert p.created_at <= v.now, ("p24", p, v.now)
        assert p.settled_at is None or p.settled_at <= v.now, ("p24", p, v.now)
    for schedule in v.schedules.values():
        assert schedule.created_at <= v.now, ("p24", schedule, v.now)
        # Its runs are dates.
        last = schedule.last_run_at
        assert last is None or last <= v.now - v.ahead, ("p24", schedule, v.now, v.ahead)


def p25(v: View) -> None:
    """A timer has no target."""
    for p in v.promises.values():
        assert p.tags.get(TAG_TIMER) != "true" or TAG_TARGET not in p.tags, ("p25", p)


def p26(v: View) -> None:
    """The home of an id is its text before the first dot, and its slot follows from that."""
    for key in (*v.promises, *v.schedules):
        home = key.split(".")[0]
        assert home_of(key) == home, ("p26", key)
        assert slot_of(key) == crc32(home.encode()) // 2**24, ("p26", key)


def p28(v: View) -> None:
    """A task waits for promises of other slots only as long as its promise is pending."""
    for t in v.tasks.values():
        assert not t.awaits or t.state != "fulfilled", ("p28", t)
        assert len(set(t.awaits)) == len(t.awaits), ("p28", t)
        assert all(slot_of(each) != slot_of(t.id) for each in t.awaits), ("p28", t)


ALL: Final = (p01, p02, p03, p07, p08, p09, p12, p18, p19, p22, p23, p24, p25, p26, p28)
#: those that hold of the part of a store that one of several machines has: a task may wait for a
#: promise in a slot that another one has
OF_A_PART: Final = tuple(check for check in ALL if check is not p12)


def check_swept(machine: Machine, now: int) -> None:
    """After sweeping until nothing is left (p18): nothing that is due has been passed over."""
    s = machine.state
    for p in all_promises(s):
        assert p.record.state != PENDING or p.record.timeout_at > now, ("p18", p.record)
        if p.task is not None:
            assert p.task.retry_at is None or p.task.retry_at > now, ("p18", p.task.record())
            assert p.task.expires_at is None or p.task.expires_at > now, ("p18", p.task.record())
    for schedule in s.schedules.values():
        waits = schedule.id in s.occurring or schedule.course.paused_at is not None
        due_at = schedule.next_run_at + schedule.plan.jitter + s.ahead
        assert waits or due_at > now, ("p18", schedule)
