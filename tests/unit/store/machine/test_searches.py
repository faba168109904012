"""Searches are checked by the machine alone; engines answer what passed."""

from __future__ import annotations

import pytest

from understudy_store.commands import PromiseSearch, ScheduleSearch, TaskSearch
from understudy_store.limits import Limits
from understudy_store.machine import Machine


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (PromiseSearch(state="done"), "rejected_timedout"),
        (TaskSearch(state="resolved"), "suspended"),
        (PromiseSearch(limit=0), "limit 0"),
        (TaskSearch(limit=-1), "limit -1"),
        (ScheduleSearch(limit=0), "limit 0"),
        (PromiseSearch(limit=Limits().page_max + 1), "limit 1001"),
    ],
)
def test_malformed_searches_are_refused(
    command: PromiseSearch | TaskSearch | ScheduleSearch, word: str
) -> None:
    reply = Machine().apply(command, 0)
    assert reply.status == 400
    assert word in str(reply.error)


@pytest.mark.parametrize(
    "command", [PromiseSearch(state="pending"), TaskSearch(state="halted"), ScheduleSearch(limit=1)]
)
def test_well_formed_searches_are_left_to_the_engine(
    command: PromiseSearch | TaskSearch | ScheduleSearch,
) -> None:
    assert Machine().apply(command, 0).status == 200
