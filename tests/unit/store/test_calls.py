"""The order of calls in lists, their cursors, and which calls a search is for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.store.samples import row, settled, targeted
from understudy_store.calls import (
    call_cursor,
    call_of,
    call_place,
    counted,
    error_matches,
    is_wanted,
    place_of,
    took_ms,
)
from understudy_store.commands import COUNTED_MAX, CallSearch
from understudy_store.records import FAILED_STATES, TAG_BRANCH, TAG_ORIGIN


@given(st.integers(0, 10**18), st.text())
def test_a_cursor_names_a_place(time: int, id_: str) -> None:
    assert call_place(call_cursor((time, id_))) == (time, id_)


@pytest.mark.parametrize("text", ["", "7", ":a", "x:a", "-1:a", "1" * 20 + ":a", "²:a"])
def test_other_texts_are_no_cursors(text: str) -> None:
    assert call_place(text) is None


def test_only_promises_with_a_task_that_begin_a_graph_are_root_calls() -> None:
    root = call_of(targeted("r"))
    assert root is not None
    assert (root.function, root.group, root.state, root.task_state) == (
        *("f", "g", "pending", "acquired"),
    )
    detached = targeted("r.7", **{TAG_ORIGIN: "r.7", TAG_BRANCH: "r"})
    assert call_of(detached) is not None
    assert call_of(targeted("r.1", **{TAG_ORIGIN: "r"})) is None
    assert call_of(row("p")) is None


def test_lists_of_failed_calls_go_by_their_ends() -> None:
    call = call_of(settled(targeted("r"), at=9))
    assert call is not None
    assert place_of(call, CallSearch()) == (1, "r")
    assert place_of(call, CallSearch(FAILED_STATES)) == (9, "r")
    assert not CallSearch(("rejected", "resolved")).by_end
    assert took_ms(call, 100) == 8


@pytest.mark.parametrize(
    ("search", "wanted"),
    [
        (CallSearch(), True),
        (CallSearch(("pending",)), True),
        (CallSearch(("resolved",)), False),
        (CallSearch(function="f", group="g", prefix="r", tags={"k": "1"}), True),
        (CallSearch(function="g"), False),
        (CallSearch(group="f"), False),
        (CallSearch(tags={"k": "2"}), False),
        (CallSearch(prefix="s"), False),
        (CallSearch(error="E"), False),
        (CallSearch(since=1, until=2), True),
        (CallSearch(since=2), False),
        (CallSearch(until=1), False),
        (CallSearch(slow_ms=9), True),
        (CallSearch(slow_ms=10), False),
    ],
)
def test_all_conditions_must_hold(search: CallSearch, wanted: bool) -> None:
    call = call_of(targeted("r", k="1"))
    assert call is not None
    assert is_wanted(call, "pending", search, now=10) is wanted


def test_a_class_is_named_with_its_module_or_without() -> None:
    assert error_matches("a.b.E", "E")
    assert error_matches("a.b.E", "b.E")
    assert not error_matches("a.b.OtherE", "E")
    assert not error_matches(None, "E")


def test_so_many_are_counted() -> None:
    assert counted(["a"] * (COUNTED_MAX + 5)) == {"a": COUNTED_MAX}
