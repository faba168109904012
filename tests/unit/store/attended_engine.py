"""An engine behind a network that no thread waits for; the test lets the answers come.

For tests of everything above an engine: `Store(AttendedEngine())`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from threading import Event
from typing import Generic, TypeVar

from tests.unit.store.later_engine import LaterEngine
from understudy_store.changes import Changes
from understudy_store.commands import Reply
from understudy_store.engines.base import SOLE_EPOCH
from understudy_store.engines.memory import MemoryEngine
from understudy_store.engines.remote import Begun
from understudy_store.records import Row

T = TypeVar("T")


class Asked(Generic[T]):
    """What was begun, as a `Begun`.

    Attributes
    ----------
    is_under_way
        It is neither done nor completed.
    """

    def __init__(self, perform: Callable[[], T]) -> None:
        self._perform = perform
        self._is_cut = False
        self._until: Event | None = None
        self.is_under_way = True
        self.descriptor, self._writing = os.pipe()
        os.set_blocking(self.descriptor, False)

    def answer(self) -> None:
        """Let the answer come."""
        os.write(self._writing, b"x")

    def cut(self, until: Event | None = None) -> None:
        """Cut the connection over which the answer would come.

        `complete` then waits for `until`, as for another connection.
        """
        self._is_cut, self._until = True, until
        self.answer()

    def advance(self) -> bool | None:
        assert self.is_under_way
        try:
            os.read(self.descriptor, 1)
        except BlockingIOError:
            return False
        if self._is_cut:
            return None
        self.result = self.complete()
        return True

    def complete(self) -> T:
        assert self.is_under_way
        if self._until is not None:
            assert self._until.wait(10)
        self.is_under_way = False
        os.close(self.descriptor)
        os.close(self._writing)
        return self._perform()


class AttendedEngine(LaterEngine):
    """Promises in memory; `commit` and `find` wait as in a `LaterEngine`.

    Attributes
    ----------
    known
        Ids of which memory tells.
    begins
        Whether anything can be begun now.
    begun_commit, begun_find
        What was begun last.
    """

    begun_commit: Asked[list[Reply]]
    begun_find: Asked[list[Row]]

    def __init__(self) -> None:
        super().__init__()
        self.known: set[str] = set()
        self.begins = True

    def find_known(self, ids: Collection[str]) -> list[Row] | None:
        return MemoryEngine.find(self, ids) if self.known.issuperset(ids) else None

    def begin_find(self, ids: Collection[str]) -> Begun[list[Row]] | None:
        if not self.begins:
            return None
        self.begun_find = Asked(lambda: MemoryEngine.find(self, ids))
        return self.begun_find

    def begin(self, changes: Changes, epoch: int) -> Begun[list[Reply]] | None:
        assert epoch == SOLE_EPOCH
        if not self.begins:
            return None
        self.begun_commit = Asked(lambda: MemoryEngine.commit(self, changes, [], SOLE_EPOCH))
        return self.begun_commit
