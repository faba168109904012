"""Faults of what the machine does by itself: sweeps, offers, runs of schedules."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, swap

_mutant = Area("tests/unit/store").mutant
_TASKS: Final = "machine/test_tasks.py"
_FENCES: Final = "machine/test_fence_and_suspend.py"
_SWEEP: Final = "machine/test_sweep.py"
_SCHEDULES: Final = "machine/test_schedules.py"
_EDGES: Final = "machine/test_edges.py"

_OWN_TRANSITIONS: Final = (
    _mutant(
        "offered-before-deadlines",
        14,
        "no task is offered if its promise is past its deadline",
        "understudy_store.machine.sweep.sweep",
        swap("left -= _deadlines", "_offers(s, now, left)\nleft -= _deadlines"),
        _SWEEP,
    ),
    _mutant(
        "offered-once",
        18,
        "a task that nobody took is offered again",
        "understudy_store.machine.sweep._offer",
        swap(
            "s.offers_due.arm(task.retry_at, task_id)",
            "s.offers_due.arm(task.retry_at * 2, task_id)",
        ),
        _SWEEP,
        _TASKS,
        _FENCES,
    ),
    _mutant(
        "schedule-forgets-what-it-missed",
        None,
        "each missed occurrence of a schedule creates one promise",
        "understudy_store.machine.schedules.run",
        swap("_advance(s, schedule, last)", "_advance(s, schedule, now)"),
        _SCHEDULES,
    ),
    _mutant(
        "offer-armed-from-its-due-time",
        21,
        "an offer is armed anew later than now, however late the sweep was",
        "understudy_store.machine.sweep._offer",
        swap(
            "task.retry_at = now + s.config.retry_timeout_ms",
            "task.retry_at = task.retry_at + s.config.retry_timeout_ms",
        ),
        _EDGES,
    ),
    _mutant(
        "offer-before-it-is-due",
        21,
        "an offer is made only when it is due",
        "understudy_store.machine.sweep._offers",
        swap("s.offers_due.first(now, limit)", "s.offers_due.first(now + 500, limit)"),
        _EDGES,
        _SWEEP,
    ),
    _mutant(
        "schedule-made-anew",
        23,
        "what a schedule was created with never changes",
        "understudy_store.machine.schedules.create",
        swap("existing is not None", "existing == schedule"),
        _SCHEDULES,
    ),
    _mutant(
        "schedule-born-at-each-run",
        23,
        "a run does not change when a schedule was created",
        "understudy_store.machine.schedules._running",
        swap("schedule.created_at, last", "next_run_at, last"),
        _SCHEDULES,
    ),
    _mutant(
        "schedule-without-its-last-run",
        23,
        "last_run_at is the last occurrence",
        "understudy_store.machine.schedules._running",
        swap("schedule.created_at, last", "schedule.created_at, None"),
        _SCHEDULES,
    ),
    _mutant(
        "schedule-stays-in-the-future",
        23,
        "where the date is set back, a schedule runs at the next occurrence from there",
        "understudy_store.machine.schedules.enter",
        swap("first < schedule.next_run_at", "first < 0"),
        _SCHEDULES,
    ),
    _mutant(
        "schedule-runs-before-its-last-run",
        23,
        "last_run_at < next_run_at, also where the date was set back",
        "understudy_store.machine.schedules.enter",
        swap("last is None or last > date else last", "last is None else last"),
        _SCHEDULES,
    ),
    _mutant(
        "timeout-by-the-date",
        24,
        "the promise of a schedule has its whole timeout, whatever the wall clock says",
        "understudy_store.machine.schedules._occur",
        swap("occurred_at + schedule.promise_timeout", "at + schedule.promise_timeout"),
        _SCHEDULES,
    ),
    _mutant(
        "schedule-made-by-another-date",
        None,
        "the first occurrence of a new schedule is by the date",
        "understudy_store.machine.schedules.create",
        swap("_first(c.cron, now - s.ahead)", "_first(c.cron, now)"),
        _SCHEDULES,
    ),
    _mutant(
        "occurrence-created-at-the-sweep",
        24,
        "the promise of a schedule is created at its occurrence",
        "understudy_store.machine.schedules._occur",
        swap("now, occurred_at", "now"),
        _SCHEDULES,
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_OWN_TRANSITIONS,)
