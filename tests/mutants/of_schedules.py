"""Faults of what the machine does by itself: sweeps, offers, runs of schedules."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

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
        "understudy_store.machine.schedule_runs._run",
        swap("advanced(s, schedule, course, last)", "advanced(s, schedule, course, now)"),
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
        "understudy_store.machine.schedules._create",
        swap("existing is not None", "existing == schedule"),
        _SCHEDULES,
    ),
    _mutant(
        "schedule-born-at-each-run",
        23,
        "a run does not change when a schedule was created",
        "understudy_store.machine.schedule_runs.advanced",
        swap("last_run_at=last,", "last_run_at=last, created_at=last,"),
        _SCHEDULES,
    ),
    _mutant(
        "schedule-without-its-last-run",
        23,
        "last_run_at is the last occurrence",
        "understudy_store.machine.schedule_runs.advanced",
        swap("last_run_at=last,", "last_run_at=None,"),
        _SCHEDULES,
    ),
    _mutant(
        "schedule-stays-in-the-future",
        23,
        "where the date is set back, a schedule runs at the next occurrence from there",
        "understudy_store.machine.schedule_runs._by_date",
        swap("first < schedule.next_run_at", "first < 0"),
        _SCHEDULES,
    ),
    _mutant(
        "schedule-runs-before-its-last-run",
        23,
        "last_run_at < next_run_at, also where the date was set back",
        "understudy_store.machine.schedule_runs._by_date",
        swap("last_run_at=None", "last_run_at=last"),
        _SCHEDULES,
    ),
    _mutant(
        "timeout-by-the-date",
        24,
        "the promise of a schedule has its whole timeout, whatever the wall clock says",
        "understudy_store.machine.schedule_runs._make",
        swap(
            "created_at + schedule.promise_timeout",
            "created_at - s.ahead + schedule.promise_timeout",
        ),
        _SCHEDULES,
    ),
    _mutant(
        "schedule-made-by-another-date",
        None,
        "the first occurrence of a new schedule is by the date",
        "understudy_store.machine.schedules._checked",
        swap("_first(c.cron, now - s.ahead, zone)", "_first(c.cron, now, zone)"),
        _SCHEDULES,
    ),
    _mutant(
        "occurrence-created-at-the-sweep",
        24,
        "the promise of a schedule is created at its occurrence",
        "understudy_store.machine.schedule_runs._make",
        swap("now, created_at", "now"),
        _SCHEDULES,
    ),
)

_RUNS: Final = "machine/test_schedule_runs.py"
_CRON: Final = "machine/test_cron.py"
_OCCURRENCES: Final = "machine/test_occurrences.py"
_MACHINE: Final = "understudy_store.machine"

_PLANS: Final = (
    _mutant(
        "time-that-is-there-twice-counts-twice",
        None,
        "what was due before the clock was set back is not due again",
        f"{_MACHINE}.cron.following",
        swap("at > after", "True"),
        _CRON,
    ),
    _mutant(
        "seconds-know-no-gap",
        None,
        "a line that says seconds is due after a gap, too",
        f"{_MACHINE}.cron._occurrences",
        swap("len(parts) > 5", "False"),
        _CRON,
    ),
    _mutant(
        "last-before-a-gap-forgotten",
        None,
        "the last occurrence is the one before the next",
        f"{_MACHINE}.cron.preceding",
        swap("later is None or later > until", "True"),
        _CRON,
    ),
    _mutant(
        "skip-makes-it",
        None,
        "a call is left out while the last one is under way",
        f"{_MACHINE}.schedule_runs._overlap",
        swap('overlap == "skip" or waits', "waits"),
        _RUNS,
    ),
    _mutant(
        "a-second-one-waits",
        None,
        "only one call waits for the last one",
        f"{_MACHINE}.schedule_runs._overlap",
        swap('overlap == "skip" or waits', 'overlap == "skip"'),
        _RUNS,
    ),
    _mutant(
        "a-call-cancels-itself",
        None,
        "a call does not overlap itself",
        f"{_MACHINE}.schedule_runs._overlap",
        swap('overlap == "allow" or last_id == id_', 'overlap == "allow"'),
        _RUNS,
        _OCCURRENCES,
    ),
    _mutant(
        "waits-although-the-last-has-ended",
        None,
        "a call that waits is made once the last one has settled",
        f"{_MACHINE}.settlement._settle",
        swap("record.id in s.followed", "False"),
        _RUNS,
    ),
    _mutant(
        "end-elsewhere-not-heard",
        None,
        "a schedule hears of the end of its call in another slot",
        f"{_MACHINE}.announcements.announce",
        drop("occurrences.settled(s, record.id, slot)"),
        _OCCURRENCES,
    ),
    _mutant(
        "end-elsewhere-not-asked-for-again",
        None,
        "after a restart the end of a call in another slot is asked for again",
        f"{_MACHINE}.schedule_runs.enter",
        drop("occurrences.follow(s, changed)"),
        _OCCURRENCES,
        _RUNS,
    ),
    _mutant(
        "window-a-little-wide",
        None,
        "an occurrence later than the window is missed",
        f"{_MACHINE}.schedule_runs._within_window",
        swap("date - plan.catch_up - 1 - plan.jitter", "date - plan.catch_up - 60000"),
        _RUNS,
    ),
    _mutant(
        "late-is-missed",
        None,
        "an occurrence that is a little late is made, whatever the window",
        f"{_MACHINE}.schedule_runs._within_window",
        swap("date - LATE_MS - 1 - plan.jitter", "date - 1 - plan.jitter"),
        _RUNS,
    ),
    _mutant(
        "pause-runs",
        None,
        "a schedule that is paused makes no calls",
        f"{_MACHINE}.occurrences._due_at",
        swap("course.paused_at is not None", "False"),
        _RUNS,
    ),
    _mutant(
        "pause-made-up-for",
        None,
        "what was due during a pause is left out",
        f"{_MACHINE}.schedule_runs.resumed",
        swap("occurrences.after(s, schedule, since)", "schedule.next_run_at"),
        _RUNS,
    ),
    _mutant(
        "trigger-made-blindly",
        None,
        "a call is asked for only under an id that was looked up",
        f"{_MACHINE}.schedules.trigger",
        swap("id_ not in s.looked_up", "False"),
        _RUNS,
    ),
    _mutant(
        "replaced-unasked",
        23,
        "a schedule that exists is replaced only if that is asked for",
        f"{_MACHINE}.schedules.put",
        swap("if c.replace else None", "or None"),
        _RUNS,
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_OWN_TRANSITIONS, *_PLANS)
