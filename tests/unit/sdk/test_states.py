"""The words for states of calls in searches."""

from __future__ import annotations

import pytest

from understudy.states import CALL_STATES, call_states


@pytest.mark.parametrize(
    ("words", "states"),
    [
        ([], ()),
        (["pending"], ("pending",)),
        (["canceled", "rejected_canceled"], ("rejected_canceled",)),
        (["failed", "rejected"], ("rejected", "rejected_timedout")),
        (["lost"], None),
    ],
)
def test_words_name_states(words: list[str], states: tuple[str, ...] | None) -> None:
    assert call_states(words) == states


def test_an_error_is_that_of_calls_that_raised() -> None:
    assert call_states([], error="E") == ("rejected",)
    assert call_states(["pending"], error="E") == ("pending",)
    assert all(call_states([word]) for word in CALL_STATES)
