"""A machine's memory: timers, indexes and counts are what the objects say."""

from __future__ import annotations

from understudy_store.machine.packed import all_promises
from understudy_store.machine.state import State, children_of
from understudy_store.machine.timers import Timers
from understudy_store.records import PENDING, TAG_BRANCH, TAG_PARENT, TAG_SCOPE


def armed(timers: Timers) -> dict[str, int]:
    found = [
        (key, at)
        for at, bucket in timers._buckets.items()
        for key in ((bucket,) if isinstance(bucket, str) else bucket)
    ]
    assert len(dict(found)) == len(found), "a key is armed twice"
    assert set(timers._buckets) <= set(timers._heap), "a bucket has no entry in the heap"
    return dict(found)


def check_memory(s: State) -> None:
    """Timers, indexes and counts are what the objects say."""
    assert not s.promises.keys() & s.packed.keys(), "a promise is warm and cold"
    found = {p.record.id: p for p in all_promises(s)}
    pending = {key: p.record for key, p in found.items() if p.record.state == PENDING}
    live = {key: p.task for key, p in found.items() if p.task is not None and key in pending}
    assert s.packed.keys() <= pending.keys(), "history is cold"
    assert s.pending == len(pending), "count of pending promises"
    assert armed(s.deadlines) == {key: p.timeout_at for key, p in pending.items()}
    offers = {key: t.retry_at for key, t in live.items() if t.state == "pending"}
    assert armed(s.offers_due) == offers
    _check_schedules(s)
    elsewhere: dict[str, set[str]] = {}
    for key, t in live.items():
        for awaited in t.awaits or ():
            elsewhere.setdefault(awaited, set()).add(key)
    assert {key: set(those) for key, those in s.awaiters_elsewhere.items()} == elsewhere
    for state, count in s.counts.items():
        actual = sum(t.state == state for t in live.values())
        assert state == "fulfilled" or count == actual, ("count of tasks", state)
    _check_holders(s)
    children: dict[str, set[str]] = {}
    for key, p in pending.items():
        if p.tags.get(TAG_SCOPE) != "detached":
            for tag in (TAG_BRANCH, TAG_PARENT):
                if tag in p.tags:
                    children.setdefault(p.tags[tag], set()).add(key)
    assert {key: set(children_of(s, key)) for key in s.children} == children


def _check_schedules(s: State) -> None:
    assert armed(s.occurrences) == s.occurs_at
    assert not s.occurs_at.keys() & s.occurring.keys()
    assert s.occurring.keys() <= s.schedules.keys()
    for key, each in s.schedules.items():
        course = each.course
        followers = s.followed.get(course.last_id or "", ())
        if course.waiting is not None and key not in followers:
            assert key in s.occurs_at or key in s.occurring, ("waits for nothing", each)
        elif key not in s.occurring and course.paused_at is None:
            at = s.occurs_at[key] - s.ahead - each.next_run_at
            assert 0 <= at <= each.plan.jitter, ("armed", each)
    for last_id, followers in s.followed.items():
        assert followers, ("followed by none", last_id)
        for key in followers:
            assert s.schedules[key].course.last_id == last_id, ("follows another", key)


def _check_holders(s: State) -> None:
    tasks = [p.task for p in all_promises(s) if p.task is not None]
    held = {(t.pid, t.id) for t in tasks if t.state == "acquired"}
    warm = {(t.warm, t.id) for t in tasks if t.warm is not None and t.state != "acquired"}
    assert {(pid, key) for pid, h in s.holders.items() for key in h.held} == held
    assert {(pid, key) for pid, h in s.holders.items() for key in h.warm} == warm
    leases = armed(s.leases)
    assert leases == {pid: h.armed_at for pid, h in s.holders.items() if h.armed_at is not None}
    for pid, holder in s.holders.items():
        assert holder.held or holder.warm or holder.armed_at is not None, ("idle", pid)
        for task in holder.held.values():
            assert task.expires_at is not None, ("lease", task.id)
            assert task.warm == pid, ("warm", task.id)
            assert leases[pid] <= task.expires_at, ("lease", task.id)
