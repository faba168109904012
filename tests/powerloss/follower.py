"""When the journal is brought into the file, told by the script."""

from __future__ import annotations

from threading import Event
from typing import cast

from tests.support import eventually
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.store import Store


class _Held(Event):
    """Set by the store, and heeded once it is let go."""

    held = True

    def set(self) -> None:
        if not self.held:
            super().set()


class Follower:
    """The thread of `store`, which was just opened, and acts only when it is told.

    It waits for the journal's first commit before it looks at what is put here in the way.
    """

    def __init__(self, store: Store) -> None:
        self._engine = cast(SqliteEngine, store._engine)
        self._enough = self._engine.journaled._flush_now = _Held()

    def follow(self) -> None:
        """Have it take one turn: what is sealed, or else all. Returns when it is in the file."""
        if not (self._engine.journaled._sealed or self._engine.journaled._active):
            return
        self._enough.held = False
        self._enough.set()
        eventually(lambda: not self._busy(), timeout_s=30)
        self._enough.held = True

    def leave(self) -> None:
        """Let it go on by itself."""
        self._enough.held = False

    def _busy(self) -> bool:
        engine = self._engine
        with engine.journaled._append_lock, engine.journaled._table_lock:
            return bool(engine.journaled._sealed) or self._enough.is_set()
