"""A view tells how far the table is behind the log."""

from __future__ import annotations

from collections.abc import Collection

from understudy_store.changes import Changes
from understudy_store.engines.journaled.view import View
from understudy_store.records import Row


class _EmptyTable:
    def find(self, ids: Collection[str]) -> list[Row]:
        return []

    def first_from(self, id_: str) -> str | None:
        return None


def test_the_lag_is_the_age_of_the_oldest_commit_that_the_table_has_not() -> None:
    view = View(_EmptyTable())
    assert view.lag_s(100.0) == 0
    view.add(Changes(1, unblocks_added=[("p", "a")]))
    view.active.since = 90.0
    assert view.lag_s(100.0) == 10
    view.seal()
    assert view.lag_s(101.0) == 11
    view.add(Changes(2, unblocks_added=[("q", "a")]))
    view.active.since = 95.0
    assert view.lag_s(102.0) == 12, "the sealed ones are older"
    view.written()
    assert view.lag_s(102.0) == 7
    view.seal()
    view.written()
    assert view.lag_s(102.0) == 0
