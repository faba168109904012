"""An engine behind a network whose commits no thread waits for; the test lets the answers come.

For tests of everything above an engine: `Store(AttendedEngine())`.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from tests.unit.store.later_engine import LaterEngine
from understudy_store.changes import Changes
from understudy_store.engines.base import SOLE_EPOCH
from understudy_store.engines.memory import MemoryEngine
from understudy_store.engines.remote import BegunCommit
from understudy_store.records import Row


class AttendedEngine(LaterEngine):
    """Promises in memory; `commit` and `find` wait as in a `LaterEngine`.

    It is the commit that was begun, too.

    Attributes
    ----------
    known
        Ids of which memory tells.
    takes_any
        Whether a commit can be begun now.
    """

    def __init__(self) -> None:
        super().__init__()
        self.known: set[str] = set()
        self.takes_any = True
        self._begun: Changes | None = None
        self._is_cut = False
        self._reading, self._writing = os.pipe()

    @property
    def is_under_way(self) -> bool:
        return self._begun is not None

    def answer(self) -> None:
        """Let the answer to the commit that was begun come."""
        os.write(self._writing, b"x")

    def cut(self) -> None:
        """Cut the connection, over which the answer would come."""
        self._is_cut = True
        self.answer()

    def find_known(self, ids: Collection[str]) -> list[Row] | None:
        return MemoryEngine.find(self, ids) if self.known.issuperset(ids) else None

    def begin(self, changes: Changes, epoch: int) -> BegunCommit | None:
        assert self._begun is None
        assert epoch == SOLE_EPOCH
        if not self.takes_any:
            return None
        self._begun = changes
        return self

    @property
    def descriptor(self) -> int:
        return self._reading

    def advance(self) -> bool | None:
        assert self._begun is not None
        os.set_blocking(self._reading, False)
        try:
            os.read(self._reading, 1)
        except BlockingIOError:
            return False
        if self._is_cut:
            return None
        self._end()
        return True

    def complete(self) -> None:
        self._end()

    def _end(self) -> None:
        changes, self._begun = self._begun, None
        assert changes is not None
        MemoryEngine.commit(self, changes, [], SOLE_EPOCH)

    def close(self) -> None:
        assert self._begun is None
        super().close()
        os.close(self._reading)
        os.close(self._writing)
