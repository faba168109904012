"""An engine that answers later, as one behind a network would: finds and commits wait for the test.

For tests of everything above an engine: `Store(LaterEngine())`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from threading import Semaphore

from understudy_store.changes import Changes
from understudy_store.commands import Reply
from understudy_store.engines.base import Read
from understudy_store.engines.memory import MemoryEngine
from understudy_store.errors import StoreError
from understudy_store.records import Row

WAIT_S = 30


class LaterEngine(MemoryEngine):
    """Promises in memory, behind a slow and distant door.

    Each `find` waits for one call of `let_find`, each `commit` for one of `let_commit`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._finds = Semaphore(0)
        self._commits = Semaphore(0)

    @property
    def inline(self) -> bool:
        return False

    def let_find(self, count: int = 1) -> None:
        """Let so many finds be answered."""
        self._finds.release(count)

    def let_commit(self, count: int = 1) -> None:
        """Let so many commits be done."""
        self._commits.release(count)

    def find(self, ids: Collection[str]) -> list[Row]:
        _pass(self._finds, "find")
        return super().find(ids)

    def commit(self, changes: Changes, reads: Sequence[Read], epoch: int) -> list[Reply]:
        _pass(self._commits, "commit")
        return super().commit(changes, reads, epoch)


def _pass(gate: Semaphore, what: str) -> None:
    if not gate.acquire(timeout=WAIT_S):
        raise StoreError(f"no test has let a {what} go on for {WAIT_S} s")
