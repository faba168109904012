"""Faults of actions on many calls: what is chosen, what is done, and how it is counted."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/sdk/repairs").mutant
_ACTIONS: Final = "test_actions.py"
_PLAN: Final = "test_plan.py"
_RESTARTS: Final = "test_restarts.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    _mutant(
        "stop-unheard",
        None,
        "an action on many calls ends between two batches",
        "understudy.repairs.conversation.hold",
        swap("goes_on()", "True"),
        _ACTIONS,
    ),
    _mutant(
        "calls-of-others-continued",
        None,
        "only what is in the graphs of the calls that match is continued",
        "understudy.repairs.selection._below",
        swap("not wanted.isdisjoint((task.id, origin_of(record)))", "True"),
        _ACTIONS,
    ),
    _mutant(
        "first-attempts-retried",
        None,
        "only what has failed an attempt is retried",
        "understudy.repairs.selection._tasks",
        swap('(action != "retry" or task.failures)', "True"),
        _ACTIONS,
    ),
    _mutant(
        "sleeps-resolved",
        None,
        "a sleep is not resolved with the promises of people",
        "understudy.repairs.selection.select_promises",
        swap("not is_timer(record)", "True"),
        _ACTIONS,
    ),
    _mutant(
        "choice-without-bound",
        None,
        "one plan takes a bounded number of targets, and says so",
        "understudy.repairs.selection._read",
        swap("not wants_more", "False"),
        _ACTIONS,
    ),
    _mutant(
        "restart-counted-twice",
        None,
        "a restart that was made before needs nothing",
        "understudy.repairs.restarts.restarted",
        swap("answer.status == 201", "True"),
        _RESTARTS,
    ),
    _mutant(
        "restart-over-a-foreign-call",
        None,
        "a restart whose id another call has is refused",
        "understudy.repairs.restarts.restarted",
        swap("made.tags.get(TAG_RESTART_OF) == record.id", "made.settled"),
        _RESTARTS,
    ),
    _mutant(
        "running-call-restarted",
        None,
        "a call that has not ended is not restarted",
        "understudy.repairs.restarts.restart_of",
        swap("not record.settled", "False"),
        _RESTARTS,
    ),
    _mutant(
        "sealed-arguments-copied",
        None,
        "arguments that are sealed for one call are not copied to another",
        "understudy.repairs.restarts.restart_of",
        swap('key_id(param.data or b"")', '""'),
        _RESTARTS,
    ),
    _mutant(
        "another-value-counted-as-ours",
        None,
        "a promise that somebody else has resolved is not counted as done",
        "understudy.repairs.plan.outcome_of",
        swap("record.value.data == value.data", "True"),
        _PLAN,
    ),
    _mutant(
        "refusal-counted-as-needless",
        None,
        "what the broker refuses is said to be refused",
        "understudy.repairs.plan.refusal",
        swap("(404, 409)", "(403, 404, 409)"),
        _PLAN,
    ),
    _mutant(
        "reasons-without-bound",
        None,
        "the reasons of a result are bounded",
        "understudy.repairs.plan.Tally.add",
        drop('reason = "other reasons"'),
        _PLAN,
    ),
)
