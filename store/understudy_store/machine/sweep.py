"""Own transitions: everything that happens because time has passed (semantics: Own transitions).

A sweep does a bounded number of them and says whether more is due. It settles only by deadline, and
never acquires, suspends, halts or continues (semantics: property 16).
"""

from __future__ import annotations

from understudy_store.machine import leases, packed, schedule_runs
from understudy_store.machine.settlement import find
from understudy_store.machine.state import State, next_due


def sweep(s: State, now: int, schedules_until: int) -> bool:
    """Do what is due at `now`, and schedules only up to `schedules_until`; True if some is left.

    Deadlines come first, so that nothing is offered or lapses whose promise is over (semantics:
    property 14); schedules before offers, so that new tasks of schedules are offered at once.
    """
    if s.pack_round or now >= s.pack_round_at:
        packed.pack_idle(s, now)
    if next_due(s) > now:
        return False
    left = s.config.sweep_max
    # Usually only one kind of timer is due: the others cost one comparison each.
    if s.deadlines.next_at <= now:
        left -= _deadlines(s, now, left)
    if s.leases.next_at <= now:
        left -= leases.lapse_due(s, now, left)
    if s.occurrences.next_at <= schedules_until:
        left -= schedule_runs.run(s, now, schedules_until, min(left, s.config.missed_max))
    if s.offers_due.next_at <= now:
        _offers(s, now, left)
    return next_due(s) <= now


def offer_due(s: State, now: int) -> None:
    """Offer the tasks that are due; those whose promise is past its deadline settle instead."""
    for task_id in s.offers_due.first(now, s.config.sweep_max):
        find(s, task_id, now)
    _offers(s, now, s.config.sweep_max)


def _deadlines(s: State, now: int, limit: int) -> int:
    done = 0
    while done < limit and (ids := s.deadlines.first(now, limit - done)):
        for promise_id in ids:
            # Settling the one before may have settled this one, as its awaiter.
            find(s, promise_id, now)
        done += len(ids)
    return done


def _offers(s: State, now: int, limit: int) -> None:
    while limit > 0 and (ids := s.offers_due.first(now, limit)):
        limit -= len(ids)
        for task_id in ids:
            _offer(s, task_id, now)


def _offer(s: State, task_id: str, now: int) -> None:
    # The bound of a sweep is shared: offers have their turn only once no deadline is due, so the
    # promise is pending.
    task = s.promises[task_id].task
    assert task is not None
    assert task.retry_at is not None
    s.offers_due.disarm(task.retry_at, task_id)
    # Not stored, because after a restart all that is due is offered anyway.
    task.retry_at = now + s.config.retry_timeout_ms
    s.offers_due.arm(task.retry_at, task_id)
    s.offers[task_id] = task
