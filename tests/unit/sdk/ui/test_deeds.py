"""A deed says what it will do before it does it, and forms are checked."""

from __future__ import annotations

import pytest

from tests.unit.sdk.ui.records import CODEC, promise, sleep
from understudy.ui.deeds import DEEDS, FormError, cancellation, deeds_for, unexpected
from understudy_store.commands import PromiseCancel, PromiseSettle, ScheduleTrigger


def test_a_cancellation_counts_calls_and_groups() -> None:
    found = [promise("a"), promise("a.1", group="shop"), promise("a.2"), sleep("a.3", 0)]
    text = "Cancels 3 calls in 2 groups and 1 step, sleep or promise"
    assert cancellation(found) == text
    assert cancellation(found[:1]) == "Cancels 1 call in group bank"
    assert cancellation(found[:3], is_whole=False) == "Cancels more than 3 calls in 2 groups"


def test_values_are_json() -> None:
    command = DEEDS["resolve"].command("a", {"value": '{"by": "ann"}'})
    assert isinstance(command, PromiseSettle)
    assert command.value.data == CODEC.encode_value({"by": "ann"})
    with pytest.raises(FormError, match="this is no JSON"):
        DEEDS["resolve"].command("a", {"value": "approved"})
    with pytest.raises(FormError, match="this is no JSON"):
        DEEDS["resolve"].command("a", {"value": "[" * 100_000})
    with pytest.raises(FormError, match="a page takes"):
        DEEDS["reject"].command("a", {"error": "x" * 2_000_000})


def test_a_form_that_is_sent_twice_triggers_once() -> None:
    one, other = (DEEDS["trigger"].command("s", {"at": "1790000000000"}) for _ in range(2))
    assert one == other
    assert isinstance(one, ScheduleTrigger)
    assert one.date % 1000
    with pytest.raises(FormError):
        DEEDS["trigger"].command("s", {"at": "²"})


def test_only_what_can_be_done_is_offered() -> None:
    def names(*args: object, **kwargs: object) -> list[str]:
        return [deed.name for deed in deeds_for(*args, **kwargs)]  # type: ignore[arg-type]

    assert names(promise("a", 0, 5), "fulfilled", 0) == []
    assert names(promise("a"), "acquired", 0) == ["halt", "cancel"]
    assert names(promise("a"), "pending", 2) == ["retry", "halt", "cancel"]
    assert names(promise("a"), "halted", 0) == ["continue", "cancel"]
    asked = promise("a", function=None, group=None)
    assert names(asked, None, 0) == ["resolve", "reject", "cancel"]
    assert names(sleep("a.1", 0), None, 0) == ["cancel"]


def test_a_promise_that_was_settled_otherwise_is_told_of() -> None:
    assert isinstance(DEEDS["cancel"].command("a", {}), PromiseCancel)
    assert unexpected(DEEDS["cancel"], promise("a", 0, 5)) == "a was resolved before, and stays so"
    assert unexpected(DEEDS["resolve"], promise("a", 0, 5)) == ""
    assert unexpected(DEEDS["halt"], None) == ""
