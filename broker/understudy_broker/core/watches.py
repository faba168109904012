"""Watches: the peers to be told when a promise settles. In memory only.

A watch ends with the settlement, with an unwatch, or with the connection; a peer that reconnects
asks again (semantics: Ours, on top, watching).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from understudy_broker.core.sessions import Session
from understudy_store.slots import slot_of


class Watches:
    """Sessions by the ids that they watch, and ids by session.

    Watchers are told in the order in which they asked, so that the same frames in give the same
    frames out in every process.
    """

    def __init__(self) -> None:
        self._watchers: dict[str, dict[Session, None]] = {}

    def __len__(self) -> int:
        return len(self._watchers)

    def add(self, session: Session, ids: Iterable[str]) -> None:
        """Let a session watch these promises."""
        for id_ in ids:
            if id_ not in session.watches:
                session.watches.add(id_)
                self._watchers.setdefault(id_, {})[session] = None

    def remove(self, session: Session, ids: Iterable[str]) -> None:
        """End the watches of a session on these promises."""
        for id_ in ids:
            if id_ in session.watches:
                session.watches.discard(id_)
                watchers = self._watchers[id_]
                watchers.pop(session, None)
                if not watchers:
                    del self._watchers[id_]

    def drop(self, session: Session) -> None:
        """End all watches of a session, because its connection is gone."""
        self.remove(session, list(session.watches))

    def forget(self, slots: Collection[int]) -> None:
        """End all watches on promises of these slots; another broker has them from now on."""
        for id_ in [each for each in self._watchers if slot_of(each) in slots]:
            self.settle(id_)

    def settle(self, id_: str) -> dict[Session, None] | None:
        """End all watches on a promise; return the sessions that had one."""
        watchers = self._watchers.pop(id_, None)
        if watchers is not None:
            for session in watchers:
                session.watches.discard(id_)
        return watchers
