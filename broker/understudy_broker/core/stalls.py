"""Stalls: nodes that send no heartbeats although their processes live.

A function that holds Python's interpreter for long (a regular expression, a large int) keeps its
node from sending heartbeats. The node's *pulse*, a connection of its own
(`understudy_broker.link.pulse`), needs no interpreter. While it lives the node's lease is extended,
up to a bound; the node gets no further tasks meanwhile. If the process is stopped, gone or cut off,
its pulse ends before the lease counted from then is over. ZeroMQ notices that only from the first
ping on, so the shell itself looks at each pulse that a lease was extended for (`take_relied_on`).

What is not perfect: a process whose Python is deadlocked for ever keeps its tasks until the bound,
because nobody can tell that from long work.
"""

from __future__ import annotations

from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.events import EventLog
from understudy_broker.core.metrics import Metrics
from understudy_broker.core.sessions import Session, Sessions, Stall
from understudy_store.commands import TaskHeartbeat
from understudy_store.machine import Machine


class Stalls:
    """The pulses of nodes, and the leases that are extended because of them."""

    def __init__(
        self,
        machine: Machine,
        dispatcher: Dispatcher,
        sessions: Sessions,
        events: EventLog,
        metrics: Metrics,
        config: BrokerConfig,
    ) -> None:
        self._machine = machine
        self._dispatcher = dispatcher
        self._sessions = sessions
        self._events = events
        self._metrics = metrics
        self._config = config
        #: the nodes by the connections of their pulses
        self._pulses: dict[bytes, Session] = {}
        #: those that leases were extended for since the shell last looked
        self._relied_on: set[bytes] = set()

    # Pulses --------------------------------------------------------------------------------------

    def on_pulse(self, peer: bytes, pid: str) -> None:
        """Note that a connection shows the pulse of a node; an earlier one counts no more."""
        session = self._sessions.by_pid.get(pid)
        if session is not None and session.identity == self._sessions.identity_of(peer):
            self.forget(session)
            session.pulse = peer
            self._pulses[peer] = session

    def has_pulse(self, peer: bytes) -> bool:
        """Return whether a connection shows a pulse."""
        return peer in self._pulses

    def end_pulse(self, peer: bytes) -> Session | None:
        """Note that a pulse has ended; return its node if nothing else kept the node alive."""
        session = self._pulses.pop(peer, None)
        self._relied_on.discard(peer)
        if session is None:
            return None
        session.pulse = None
        return None if session.stall is None else session

    def forget(self, session: Session) -> None:
        """Forget the pulse of a session."""
        if session.pulse is not None:
            del self._pulses[session.pulse]
            self._relied_on.discard(session.pulse)
            session.pulse = None

    def take_relied_on(self) -> set[bytes]:
        """Return the pulses that leases were extended for since the last call.

        If a shell knows that no data has come over one of them for a lease, it is to report the
        connection as lost.
        """
        taken, self._relied_on = self._relied_on, set()
        return taken

    # Leases --------------------------------------------------------------------------------------

    def extend(self, session: Session, now: int) -> bool:
        """Extend the lease of a silent peer, which is then to get no more tasks.

        Returns
        -------
        bool
            False: it has no pulse, or the bound is reached, so its lease has lapsed.
        """
        stall = session.stall
        if session.pulse is None or not self._config.stall_max_ms:
            return False
        self._relied_on.add(session.pulse)
        if stall is None:
            stall = session.stall = Stall(now)
            self._dispatcher.pause(session.pid)
            self._machine.apply(TaskHeartbeat(session.pid), now)
        elif now - stall.since >= self._config.stall_max_ms:
            return False
        elif now - stall.extended_at >= self._config.beat_ms:
            stall.extended_at = now
            self._machine.apply(TaskHeartbeat(session.pid), now)
        # The pulse of a process that was stopped ends within this time.
        if not stall.is_reported and now - stall.since >= self._config.beat_ms:
            stall.is_reported = True
            self._metrics.leases_extended += 1
            self._add_event(
                "sends no heartbeats, but its process lives; its lease is extended",
                session,
                os_pid=session.os_pid,
                host=session.host,
                held=self._machine.view.held_count(session.pid),
                at_most_s=self._config.stall_max_ms // 1000,
            )
        return True

    def end(self, session: Session, now: int) -> None:
        """Note that a peer sends heartbeats again."""
        stall, session.stall = session.stall, None
        self._dispatcher.resume(session.pid)
        if stall is not None and stall.is_reported:
            silent_s = (now - session.beat_at) // 1000
            self._add_event("sends heartbeats again", session, silent_s=silent_s)

    def _add_event(self, text: str, session: Session, **fields: object) -> None:
        identity = {"name": session.name, "group": session.group, "kind": session.kind}
        self._events.add("warning", text, **identity, **fields)
