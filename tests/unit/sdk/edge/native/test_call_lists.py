"""The parameters of lists of calls from the newest on."""

from __future__ import annotations

import pytest

from understudy.edge.native.call_lists import call_search, is_newest_first
from understudy.edge.native.parameters import Parameters
from understudy.edge.native.problems import Problem
from understudy.edge.native.promises import CALLS_PARAMETERS
from understudy_store.commands import CallSearch


def given(query: str) -> Parameters:
    return Parameters(query.encode(), CALLS_PARAMETERS)


@pytest.mark.parametrize(
    ("query", "newest"),
    [("", False), ("order=id&state=pending", False), ("order=newest", True), ("slow=1s", True)],
)
def test_some_parameters_ask_for_the_order(query: str, newest: bool) -> None:
    assert is_newest_first(given(query)) is newest


def test_all_parameters_go_into_the_search() -> None:
    query = "state=failed&function=f&group=g&tag=a=b&prefix=p&since=1h&until=90&slow=2s"
    assert call_search(given(f"{query}&limit=7&cursor=5:a&counts=true&error=E"), 10**7) == (
        CallSearch(
            ("rejected", "rejected_timedout"),
            *("f", "g", "E", {"a": "b"}, "p", 10**7 - 3_600_000, 10**7 - 90_000, 2000),
            *(7, "5:a", True),
        )
    )
    assert call_search(given(""), 5) == CallSearch()


@pytest.mark.parametrize("query", ["order=id&since=1h", "order=up", "state=lost", "origin=a"])
def test_wrong_parameters_are_named(query: str) -> None:
    parameters = given(query)
    with pytest.raises(Problem):
        is_newest_first(parameters) or call_search(parameters, 5)
