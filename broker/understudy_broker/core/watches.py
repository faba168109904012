"""Watches: which peers are told of the settlement of which promises. In memory only.

A watch ends with the settlement, with an unwatch, or with the connection; a peer that reconnects
asks again (semantics: Ours, on top, watching).
"""

from __future__ import annotations

from collections.abc import Iterable

from understudy_broker.core.sessions import Session


class Watches:
    """Both directions of the relation between sessions and ids. Watchers are told in the order in
    which they asked: the same frames give the same frames, in every process."""

    def __init__(self) -> None:
        self._watchers: dict[str, dict[Session, None]] = {}

    def __len__(self) -> int:
        return len(self._watchers)

    def add(self, session: Session, ids: Iterable[str]) -> None:
        for id_ in ids:
            if id_ not in session.watches:
                session.watches.add(id_)
                self._watchers.setdefault(id_, {})[session] = None

    def remove(self, session: Session, ids: Iterable[str]) -> None:
        for id_ in ids:
            if id_ in session.watches:
                session.watches.discard(id_)
                watchers = self._watchers[id_]
                watchers.pop(session, None)
                if not watchers:
                    del self._watchers[id_]

    def drop(self, session: Session) -> None:
        """The connection is gone."""
        self.remove(session, list(session.watches))

    def settle(self, id_: str) -> dict[Session, None] | None:
        """Who watched this promise; they no longer do."""
        watchers = self._watchers.pop(id_, None)
        if watchers is not None:
            for session in watchers:
                session.watches.discard(id_)
        return watchers
