"""The store's follower thread under the control of the script."""

from __future__ import annotations

from threading import Event
from typing import cast

from tests.support import eventually
from understudy_store.engines.sqlite.engine import SqliteEngine
from understudy_store.store import Store


class _Held(Event):
    """An event that the store sets in vain as long as it is held."""

    held = True

    def set(self) -> None:
        if not self.held:
            super().set()


class Follower:
    """The follower of `store`, which acts only when the script tells it to.

    The store must have just been opened: its follower waits for the journal's first commit before
    it looks at the event that this object replaces.
    """

    def __init__(self, store: Store) -> None:
        self._engine = cast(SqliteEngine, store._engine)
        self._enough = self._engine.journaled._flush_now = _Held()

    def follow(self) -> None:
        """Let the follower take one turn: the sealed memtable, or the active one if none is sealed.

        Returns when the rows are in SQLite's file.
        """
        if not (self._engine.journaled.view.sealed or self._engine.journaled.view.active):
            return
        self._enough.held = False
        self._enough.set()
        eventually(lambda: not self._busy(), timeout_s=30)
        self._enough.held = True

    def leave(self) -> None:
        """Let the follower run by itself from now on."""
        self._enough.held = False

    def _busy(self) -> bool:
        engine = self._engine
        with engine.journaled._append_lock, engine.journaled._table_lock:
            return bool(engine.journaled.view.sealed) or self._enough.is_set()
