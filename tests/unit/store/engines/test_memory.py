"""The engine in memory: what it costs, and what it refuses."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import pytest

from tests.unit.store.samples import row, settled, targeted
from understudy_store.changes import Changes
from understudy_store.engines.base import SOLE_EPOCH
from understudy_store.engines.memory import MemoryEngine
from understudy_store.errors import StoreError
from understudy_store.records import Row


class Noticed(str):
    """An id that counts how often one like it is looked at."""

    __slots__ = ()
    looks: ClassVar[int] = 0

    def __hash__(self) -> int:
        Noticed.looks += 1
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        Noticed.looks += 1
        return super().__eq__(other)


def _noticed(id: str) -> Row:
    plain = row(id)
    return msgspec.structs.replace(
        plain, promise=msgspec.structs.replace(plain.promise, id=Noticed(id))
    )


def test_a_commit_looks_at_no_promise_but_its_own() -> None:
    engine = MemoryEngine()
    old = [_noticed(f"old-{number}") for number in range(100)]
    mine = targeted("mine")
    engine.commit(Changes(1, inserted=[*old, mine]), (), SOLE_EPOCH)
    Noticed.looks = 0
    engine.commit(Changes(2, inserted=[row("new")], updated=[settled(mine)]), (), SOLE_EPOCH)
    assert Noticed.looks == 0
    engine.commit(Changes(3, updated=[settled(old[7])]), (), SOLE_EPOCH)
    assert Noticed.looks > 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (Changes(2, inserted=[row("b"), row("a")]), "an inserted promise exists: a"),
        (Changes(2, inserted=[row("b"), row("b")]), "an inserted promise exists: b"),
        (Changes(2, inserted=[row("b")], updated=[row("c")]), "updated promise does not exist: c"),
    ],
    ids=["exists", "twice", "missing"],
)
def test_changes_that_cannot_come_next_change_nothing(changes: Changes, reason: str) -> None:
    engine = MemoryEngine()
    engine.commit(Changes(1, inserted=[row("a")]), (), SOLE_EPOCH)
    with pytest.raises(StoreError, match=reason):
        engine.commit(changes, (), SOLE_EPOCH)
    assert engine.find(["a", "b", "c"]) == [row("a")]


def test_an_update_in_the_commit_of_its_insert_is_kept() -> None:
    engine = MemoryEngine()
    made = targeted("a")
    engine.commit(Changes(1, inserted=[made], updated=[settled(made)]), (), SOLE_EPOCH)
    assert engine.find(["a"]) == [settled(made)]
