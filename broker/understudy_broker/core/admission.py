"""Admission: which hellos are refused, and why. Part of the core, and as pure."""

from __future__ import annotations

from typing import Final

from understudy_broker.core.authorization import Authorization
from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.events import EventLog
from understudy_broker.core.quotas import Quotas
from understudy_broker.core.sessions import Sessions, check_hello
from understudy_broker.protocol.messages import PROTOCOL_VERSION, Hello, Refused
from understudy_store.machine import MachineView
from understudy_store.records import pid_of

#: how often the log says that there are too many connections
CROWDED_REPEAT_MS: Final = 60_000


class Admission:
    """Decides which peers may join."""

    def __init__(
        self,
        sessions: Sessions,
        events: EventLog,
        authorization: Authorization,
        quotas: Quotas,
        view: MachineView,
        config: BrokerConfig,
    ) -> None:
        self._sessions = sessions
        self._authorization = authorization
        self._quotas = quotas
        self._events = events
        self._view = view
        self._config = config
        #: open connections, and when the log last said that these are too many
        self._connections = 0
        self._crowded_said_at: int | None = None

    def note_connections(self, count: int, now: int) -> None:
        """Note how many connections are open; say so if no more peers are taken because of it."""
        self._connections = count
        most, said_at = self._config.connections_max, self._crowded_said_at
        if count > most and (said_at is None or now - said_at >= CROWDED_REPEAT_MS):
            self._crowded_said_at = now
            text = (
                f"{count:,} connections are open, and the limit of open files allows {most:,}: "
                "further peers are refused until some close. Raise that limit (ulimit -n, "
                "LimitNOFILE)"
            )
            self._events.add("warning", text)

    def decide(
        self, peer: bytes, hello: Hello, now: int, identity: str | None = None
    ) -> Refused | None:
        """Return the refusal of a hello, as `reject_reason`, and note it for the audit.

        While nothing can be audited, nobody is taken.
        """
        audit, refused = self._config.audit, self.reject_reason(hello, now, identity)
        if audit is not None:
            if refused is None and audit.blocked is not None:
                refused = Refused(503, audit.blocked)
            if refused is not None:
                address = self._sessions.address_of(peer)
                audit.not_joined(hello, identity, address, refused, now)
        return refused

    def reject_reason(self, hello: Hello, now: int, identity: str | None = None) -> Refused | None:
        """Return the refusal of a hello; None if the peer may join.

        Parameters
        ----------
        identity
            Whose key the peer has; None: the broker asks for none.
        """
        if hello.protocol != PROTOCOL_VERSION:
            text = (
                f"protocol version {hello.protocol}, but this broker speaks {PROTOCOL_VERSION}: "
                "install the same version of understudy on both sides"
            )
            return Refused(426, text, fatal=True)
        wrong = check_hello(hello, self._config)
        if wrong is not None:
            return Refused(400, wrong, fatal=True)
        lacks = self._authorization.join_refusal(hello.kind, hello.group, identity)
        if lacks is not None:
            return Refused(403, lacks, fatal=True)
        owner = self._sessions.kept_for(hello.name, identity)
        if owner is not None:
            text = (
                f"the name {hello.name!r} is kept for {owner!r}, whose connection has just ended: "
                "give this one another name"
            )
            return Refused(409, text, fatal=True)
        if self._is_of_strangers(hello.name, identity):
            text = (
                f"the name {hello.name!r} is kept for a peer whose connection has just ended, and "
                f"whose tasks {identity!r} may not have: give this one another name"
            )
            return Refused(409, text, fatal=True)
        other = self._sessions.by_name.get(hello.name)
        if other is None:
            return self._no_room(identity)
        if other.identity != identity:
            # Whoever has another key is another one, also if it knows what the peer's hello says.
            text = (
                f"the name {hello.name!r} is in use by {other.identity!r}, and this key is that of "
                f"{identity!r}: give this one another name"
            )
            return Refused(409, text, fatal=True)
        alive = now - other.heard_at < self._config.lease_ttl_ms
        if other.pid != pid_of(hello.name, hello.boot) and alive:
            text = (
                f"the name {hello.name!r} is in use by a {other.kind} of group {other.group!r} "
                f"(process {other.os_pid} on {other.host}): give this one another name"
            )
            return Refused(409, text, fatal=True)
        return None

    def _is_of_strangers(self, name: str, identity: str | None) -> bool:
        """Return whether a name had tasks at the broker's last start that are another team's.

        Whose names those were is not stored. Who may have all of the tasks may have the name.
        """
        return self._authorization.is_on and any(
            not self._authorization.may_hold(identity, id_)
            for pid in self._sessions.away_unknown(name)
            for id_, _ in self._view.held(pid)
        )

    def _no_room(self, identity: str | None) -> Refused | None:
        """Return the refusal of a newcomer for which there is no room; None if there is."""
        config = self._config
        if self._quotas.is_on:
            connected = sum(each.identity == identity for each in self._sessions)
            text = self._quotas.connection_refusal(identity, connected)
            if text is not None:
                return Refused(429, text)
        if len(self._sessions) >= config.peers_max:
            text = (
                f"it takes no more than {config.peers_max:,} peers (its setting peers_max), and so "
                "many are connected"
            )
            return Refused(429, text)
        if self._connections > config.connections_max:
            text = (
                f"it has {self._connections:,} connections, and its limit of open files (ulimit "
                f"-n, LimitNOFILE) allows {config.connections_max:,}"
            )
            return Refused(429, text)
        return None
