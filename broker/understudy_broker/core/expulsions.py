"""Expulsions: sessions end when the rights no longer permit them. Part of the core, pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from understudy_broker.core.authorization import Authorization
from understudy_broker.core.membership import Membership
from understudy_broker.core.outbox import Outbox
from understudy_broker.core.sessions import Sessions
from understudy_broker.protocol.messages import Refused


class Expulsions:
    """Ends sessions for shells, which call it when keys or rights have changed."""

    def __init__(
        self,
        authorization: Authorization,
        sessions: Sessions,
        membership: Membership,
        outbox: Outbox,
        note_input: Callable[[], None],
    ) -> None:
        self._authorization = authorization
        self._sessions = sessions
        self._membership = membership
        self._outbox = outbox
        self._note_input = note_input

    def apply(self, revoked: Iterable[bytes], now: int) -> None:
        """End the sessions of peers that may not be what they have joined as.

        Parameters
        ----------
        revoked
            Peers whose keys are no longer permitted.
        """
        self._note_input()
        for peer in revoked:
            self._membership.expel(peer, now, "its key is no longer permitted")
        for session in self._sessions:
            text = self._authorization.join_refusal(session.kind, session.group, session.identity)
            if text is not None:
                self._outbox.refuse(session.peer, Refused(403, text, fatal=True))
                self._membership.expel(session.peer, now, "its rights have changed")
