"""Plans of actions on many calls: what they are about, in words, and what came of them."""

from __future__ import annotations

import pytest

from understudy.repairs.plan import (
    Outcome,
    Plan,
    Tally,
    Target,
    cause_matches,
    outcome_of,
    plan_json,
    plan_text,
    states_for,
    tally_json,
    tally_text,
)
from understudy_actors.errors import CommandError
from understudy_store.commands import Reply
from understudy_store.records import EMPTY, PromiseRecord, Value


def record(state: str, data: bytes | None = None) -> PromiseRecord:
    return PromiseRecord("a", state, EMPTY, Value({}, data), {}, 9, 0, 1)  # type: ignore[arg-type]


def test_a_plan_says_what_will_happen() -> None:
    targets = (
        *(Target(f"c{n}", "shop", "checkout") for n in range(3)),
        Target("r", "bank", "refund"),
    )
    plan = Plan("cancel", targets)
    assert plan_text(plan) == (
        "cancels 4 calls, with what they called, in 2 groups: shop 3, bank 1; "
        "functions: checkout 3, refund 1"
    )
    assert plan_json(plan) == {
        "action": "cancel",
        "matched": 4,
        "groups": {"shop": 3, "bank": 1},
        "functions": {"checkout": 3, "refund": 1},
        "is_whole": True,
    }
    assert plan_text(Plan("resolve", (Target("p"),), "promise")) == "resolves 1 promise"
    many = tuple(Target(f"t{n}", f"g{n}") for n in range(1, 12))
    assert plan_text(Plan("continue", many, is_whole=False)).endswith(
        "g8 1, 3 others 3; more match than one command takes: repeat it for the others"
    )


def test_states_that_suit_an_action() -> None:
    assert states_for("cancel", ()) == ("pending",)
    assert states_for("halt", ("pending",)) == ("pending",)
    assert states_for("restart", ()) == ("rejected", "rejected_canceled", "rejected_timedout")
    assert states_for("restart", (), "ValueError") == ("rejected",)
    assert states_for("restart", ("resolved",)) == ("resolved",)
    with pytest.raises(ValueError, match="are rejected or timedout have ended"):
        states_for("retry", ("rejected", "rejected_timedout"))
    with pytest.raises(ValueError, match="they have not ended"):
        states_for("restart", ("pending",))


@pytest.mark.parametrize(
    ("cause", "error", "is_it"),
    [
        ("attempt 1 of 4 failed: ConnectionError: the bank is closed", "ConnectionError", True),
        ("attempt 1 of 4 failed: bank.Closed", "Closed", True),
        ("NonDeterminismError: a.1: the history", "NonDeterminismError", True),
        ("attempt 1 of 4 failed: ValueError: ConnectionError", "ConnectionError", False),
        (None, "ConnectionError", False),
    ],
)
def test_the_class_of_the_failure_in_a_cause(cause: str | None, error: str, is_it: bool) -> None:
    assert cause_matches(cause, None, error) is is_it
    assert cause_matches(cause, "not in it", error) is False
    assert cause_matches(cause, None, None)


def test_what_came_of_it() -> None:
    plan = Plan("cancel", tuple(Target(each) for each in ("a", "b", "c", "d", "e")))
    tally = Tally(5)
    answers: tuple[Reply | CommandError, ...] = (
        Reply(200, None, record("rejected_canceled")),
        Reply(200, None, record("resolved")),
        CommandError(404, "promise 'c' does not exist"),
        CommandError(403, "'ann' may not cancel 'd'"),
    )
    for target, answer in zip(plan.targets, answers, strict=False):
        tally.add(target, outcome_of("cancel", answer, EMPTY))
    assert (tally.done, tally.already, tally.refused, tally.is_complete) == (1, 2, 1, False)
    assert tally_text(plan, tally) == (
        "canceled 1 of 5 calls; 2 needed it no more; 1 refused; 1 left as they were"
    )
    assert tally_json(tally)["reasons"] == {
        "was resolved meanwhile": 1,
        "promise '…' does not exist": 1,
        "'ann' may not cancel '…'": 1,
    }


def test_a_resolve_is_done_where_the_value_is_ours() -> None:
    ours = Value({}, b"1")
    assert outcome_of("resolve", Reply(200, None, record("resolved", b"1")), ours).kind == "done"
    other = outcome_of("resolve", Reply(200, None, record("resolved", b"2")), ours)
    assert other == Outcome("already", "was resolved meanwhile with another value")
    assert outcome_of("retry", CommandError(409, "it runs"), EMPTY).kind == "already"


def test_the_reasons_of_a_tally_are_bounded() -> None:
    tally = Tally(100)
    for n in range(100):
        tally.add(Target("x"), Outcome("refused", f"reason {n}"))
    assert len(tally.reasons) == 21
    assert tally.reasons["other reasons"] == 80
