"""Membership: peers join and leave; leases, lost connections, and the tasks of those that are gone.

Part of the core, and as pure. A lease is kept by a peer's own heartbeats, one lease for all that it
holds. A connection that closes begins a short grace, in which the peer may come back and claim what
it holds; a silent peer is given up when its lease lapses. A peer that holds nothing may beat more
rarely, and is given up half a lease later.

The lease of a silent node whose process is known to live is extended, up to a bound (`stalls`).

While the broker itself did not listen (it was stopped or starved, or its disk was stuck), silence
says nothing about the peers. After such a gap all leases are renewed before anything else happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from understudy_broker.core.admission import Admission
from understudy_broker.core.authorization import Authorization
from understudy_broker.core.call_tally import group_of
from understudy_broker.core.config import BrokerConfig
from understudy_broker.core.dispatcher import Dispatcher
from understudy_broker.core.events import EventLog
from understudy_broker.core.function_schemas import schemas_of, shared
from understudy_broker.core.metrics import Metrics
from understudy_broker.core.outbox import Outbox
from understudy_broker.core.own_slots import OwnSlots
from understudy_broker.core.quotas import Quotas
from understudy_broker.core.sessions import Session, Sessions, callees
from understudy_broker.core.stalls import Stalls
from understudy_broker.core.watches import Watches
from understudy_broker.protocol.messages import (
    IDLE_BEATS,
    PROTOCOL_VERSION,
    Beat,
    Bye,
    Functions,
    Hello,
    Welcome,
)
from understudy_store.commands import TaskHeartbeat
from understudy_store.machine import Machine
from understudy_store.records import name_of, pid_of

#: how often heartbeats are answered in the time between two heartbeats of one peer
REPLIES_PER_BEAT: Final = 8
#: With no more peers than this, each heartbeat is answered at once: the broker is awake anyway.
FEW_PEERS: Final = 16
#: peers that were presumed dead and may come back; the last ones are remembered
PRESUMED_DEAD_MAX: Final = 256
#: how long after slots have come to this broker peers join it anew because of that
REJOIN_MS: Final = 2_000


class Membership:
    """Decides who is a member, and releases the tasks of those that no longer are.

    Parameters
    ----------
    edge_drops
        Called with the session of an edge that has ended.

    Attributes
    ----------
    stalls
        The nodes whose leases are extended, and their pulses.
    admission
        Decides who may join.
    """

    def __init__(
        self,
        machine: Machine,
        dispatcher: Dispatcher,
        sessions: Sessions,
        outbox: Outbox,
        watches: Watches,
        events: EventLog,
        metrics: Metrics,
        own: OwnSlots,
        edge_drops: Sequence[Callable[[Session], None]],
        authorization: Authorization,
        quotas: Quotas,
        config: BrokerConfig,
    ) -> None:
        self._own, self._edge_drops = own, edge_drops
        self._machine = machine
        self._dispatcher = dispatcher
        self._sessions = sessions
        self._outbox = outbox
        self._watches = watches
        self._events = events
        self._metrics = metrics
        self._config = config
        self._authorization = authorization
        self.admission = Admission(sessions, events, authorization, quotas, machine.view, config)
        self.stalls = Stalls(machine, dispatcher, sessions, events, metrics, config)
        #: Tasks of peers that were presumed dead, but may only have been cut off, by pid.
        self._presumed_dead: dict[str, tuple[tuple[str, int], ...]] = {}
        #: by pid, those that are probably joining anew: the log is silent about that
        self._rejoining: dict[str, Session] = {}
        self._polled_at = 0
        #: until when the broker may go without polling; None: there is no peer
        self._sleeps_until: int | None = None
        #: until when lost connections are attributed to a gap of the broker's own
        self._forgiving_until = 0
        #: peers whose heartbeats are not answered yet, and when they will be
        self._unanswered: dict[bytes, None] = {}
        self._answer_at: int | None = None

    def start(self, now: int) -> None:
        """Give holders of tasks time to come back, because it was the broker that was away."""
        self._polled_at = now
        for pid in sorted(self._machine.view.peer_pids()):
            self._sessions.set_away(pid, now + self._config.boot_grace_ms)

    # Joining -------------------------------------------------------------------------------------

    def join(self, peer: bytes, hello: Hello, now: int) -> Session | None:
        """Admit a peer, or refuse it and return None. The same pid may join again at any time."""
        identity = self._sessions.identity_of(peer)
        refused = self.admission.decide(peer, hello, now, identity)
        if refused is not None:
            if refused.status == 429:
                self._metrics.count_limited("connections")
            self._outbox.refuse(peer, refused)
            return None
        pid = pid_of(hello.name, hello.boot)
        self._evict(peer, hello.name, pid, identity, now)
        session = Session(peer, hello, now, identity)
        if session.kind == "node":
            others = (each.schemas for each in self._sessions if each.group == session.group)
            session.schemas = shared(session.schemas, others)
        self._sessions.add(session)
        self._machine.hosts.note(pid, hello.host)
        # The process is alive, so no task has killed it, not even one still on its way to it.
        claims = self._authorization.claims_of(identity, hello.claims)
        had = self._authorization.claims_of(identity, self._presumed_dead.pop(pid, ()))
        self._machine.retract_crashes(pid, [*had, *claims])
        self._machine.release_pid(pid, now, keep=frozenset(claims))
        self._machine.apply(TaskHeartbeat(pid), now)
        if session.kind == "node":
            known = None
            if hello.versions is not None:
                known = callees(hello.functions, hello.versions)
            self._dispatcher.join(pid, session.group, session.name, known)
            self._dispatcher.credit(pid, hello.credit)
        kept = {id_ for id_, version in claims if self._holds(pid, id_, version)}
        lost = tuple(id_ for id_, _ in hello.claims if id_ not in kept)
        self._outbox.add_urgent(peer, _welcome(self._config, self._own, pid, lost, now))
        level = "debug" if self._rejoining.pop(pid, None) else "info"
        self._add_event(level, "joined", session, pid=pid, kept=len(kept), lost=len(lost))
        return session

    def add_functions(self, session: Session, message: Functions) -> None:
        """Note that a node has more functions than it said in its hello."""
        names, versions = _taken(session, message, self._config)
        session.functions += names
        session.schemas = {
            **session.schemas,
            **schemas_of(names, versions, message.schemas, session.schemas),
        }
        self._dispatcher.add_functions(session.pid, callees(names, versions))

    def _holds(self, pid: str, id_: str, version: int) -> bool:
        """Return whether a claim is right: acquired, or suspended with this as the last version.

        What is in slots of others is for their brokers to judge: the peer learns of them by the map
        of the welcome.
        """
        if not self._own.has_id(id_):
            return True
        if self._machine.view.holds(pid, id_, version):
            return True
        task = self._machine.view.task(id_)
        return task is not None and task.state == "suspended" and task.version == version

    def _evict(self, peer: bytes, name: str, pid: str, identity: str | None, now: int) -> None:
        """End earlier sessions of this name, and of this connection."""
        by_peer = self._sessions.by_peer
        for other in (self._sessions.by_name.get(name), by_peer.get(peer)):
            if other is None or by_peer.get(other.peer) is not other:
                continue
            self._drop(other)
            if other.pid != pid:
                crash = None
                if other.name == name:
                    crash = _crash_of(other, "another process has its name")
                lost = self._machine.release_pid(other.pid, now, crash=crash, presumed=True)
                self._count_died(lost)
        for away in self._sessions.replaced(pid, identity):
            crash = self._sessions.forget_away(away)
            self._rejoining.pop(away, None)
            self._count_died(self._machine.release_pid(away, now, crash=crash, presumed=True))

    # Heartbeats ----------------------------------------------------------------------------------

    def on_beat(self, session: Session, now: int) -> None:
        """Renew a peer's lease, and answer its heartbeat: at once, or with those of other peers.

        With many peers, an answer of its own for each heartbeat would cost a wake-up each. A peer
        needs the answer at some time before its next heartbeat, not soon.
        """
        self._metrics.beats += 1
        if session.stall is not None:
            self.stalls.end(session, now)
        self._renew(session, now)
        self._unanswered[session.peer] = None
        if self._answer_at is None:
            wait_ms = self._config.beat_ms // REPLIES_PER_BEAT
            self._answer_at = now + wait_ms if len(self._sessions) > FEW_PEERS else now

    def _answer_beats(self) -> None:
        peers, self._unanswered, self._answer_at = self._unanswered, {}, None
        for peer in peers:
            if peer in self._sessions.by_peer:
                self._outbox.add_urgent(peer, Beat())

    def _renew(self, session: Session, now: int) -> None:
        """Let a peer's lease on everything it holds begin anew."""
        self._sessions.renew(session, now)
        self._machine.apply(TaskHeartbeat(session.pid), now)

    def begin_lease(self, session: Session, now: int) -> None:
        """Let a lease begin with a node's first task, however long ago its last heartbeat was.

        If the node holds other tasks, its lease runs on: a silent node would otherwise keep them as
        long as it is handed more.
        """
        if self._machine.view.held_count(session.pid) == 1:
            self._sessions.renew(session, now)

    # Leaving -------------------------------------------------------------------------------------

    def _drop(self, session: Session) -> None:
        self.stalls.forget(session)
        self._sessions.remove(session)
        self._watches.drop(session)
        self._dispatcher.leave(session.pid)
        if session.kind == "edge":
            for drop in self._edge_drops:
                drop(session)

    def leave(self, session: Session, now: int) -> None:
        """Remove a peer that said goodbye; the tasks that it still holds go to others at once."""
        if self._sessions.by_peer.get(session.peer) is not session:
            return
        # The peer waits for this, so that it need not guess how long its own goodbye travels.
        self._outbox.add_urgent(session.peer, Bye())
        self._drop(session)
        released = self._machine.release_pid(session.pid, now)
        self._metrics.count_attempts(session.group, "released", len(released))
        self._add_event("info", "left", session, released=len(released))

    def connection_lost(self, peer: bytes, now: int, reason: str) -> None:
        """Begin the grace of a peer: it gets no more work, and loses its tasks if it stays away."""
        session = self._sessions.by_peer.get(peer)
        if session is None:
            silent = self.stalls.end_pulse(peer)
            if silent is not None:
                self._lapse(silent, now)
            return
        self._metrics.connections_lost += 1
        self._drop(session)
        grace_ms, crash = self._config.reconnect_grace_ms, None
        if now < self._forgiving_until:
            # Peers have taken this broker for dead during its gap, and are on their way back.
            grace_ms = max(grace_ms, self._config.boot_grace_ms)
        else:
            crash = _crash_of(session, reason)
        self._sessions.leave(session, now + grace_ms, crash)
        held = self._machine.view.held_count(session.pid)
        level = "warning" if held else "info"
        came_at = self._own.came_at
        if came_at is not None and now - came_at < REJOIN_MS:
            self._rejoining[session.pid] = session
            level = "debug"
        self._add_event(level, reason, session, held=held)

    def expel(self, peer: bytes, now: int, because: str) -> None:
        """End the session of a peer that may no longer have one; others get its tasks now."""
        session = self._sessions.by_peer.get(peer)
        if session is None:
            self.connection_lost(peer, now, "")
            return
        self._drop(session)
        # Its process did nothing wrong by what is known, so it is no crash.
        released = self._machine.release_pid(session.pid, now)
        self._metrics.count_attempts(session.group, "released", len(released))
        self._add_event("warning", f"expelled, because {because}", session, released=len(released))

    # Time ----------------------------------------------------------------------------------------

    def mark_polled(self, now: int) -> None:
        """Note that peers have been listened to until `now`; after a gap, forgive their silence."""
        beat_ms = self._config.beat_ms
        # The gap is measured from the time that was set when the broker fell asleep, because peers
        # that are found lost when it wakes may have changed that time.
        late_ms = 0 if self._sleeps_until is None else now - self._sleeps_until
        self._polled_at = now
        self._sleeps_until = now + beat_ms // 2
        if late_ms <= beat_ms // 2:
            return
        if late_ms > beat_ms * 3 // 2:
            self._forgiving_until = now + self._config.boot_grace_ms
        for session in self._sessions:
            session.heard_at = now
            self._renew(session, now)
        self._sessions.extend_away(now + self._config.reconnect_grace_ms)

    def tick(self, now: int) -> None:
        """Give up peers whose grace or lease is over, and answer heartbeats."""
        overdue_at = self._sessions.overdue_at
        if overdue_at is not None and now >= overdue_at:
            self._give_up_absent(now)
        # Heartbeats that are not read yet are not silence: what counts is the last poll.
        silent = self._sessions.silent(self._polled_at - self._config.lease_ttl_ms)
        if silent:
            self._give_up_silent(silent, now)
        if self._answer_at is not None and now >= self._answer_at:
            self._answer_beats()

    def _give_up_absent(self, now: int) -> None:
        """Release the tasks of peers that did not come back within their grace."""
        for pid, crash in self._sessions.take_overdue(now):
            had = self._machine.view.held(pid)
            rejoining = self._rejoining.pop(pid, None)
            if rejoining is not None:
                text = "lost, and has not joined anew"
                self._add_event("warning" if had else "info", text, rejoining, held=len(had))
            released = self._machine.release_pid(pid, now, crash=crash, presumed=True)
            self._count_died(released)
            if released:
                self._presume_dead(pid, had)
                text = "gone; its tasks go to others"
                self._events.add("warning", text, name=name_of(pid), released=len(released))

    def _give_up_silent(self, silent: list[Session], now: int) -> None:
        """End the sessions of peers whose lease has lapsed, or extend their leases."""
        lease_ttl_ms = self._config.lease_ttl_ms
        for session in silent:
            # A peer that holds nothing beats so rarely that it may be late for half a lease more.
            late = self._polled_at - session.beat_at < lease_ttl_ms * 3 // 2
            if late and not self._machine.view.held_count(session.pid):
                continue
            if not self.stalls.extend(session, now):
                self._lapse(session, now)

    def _lapse(self, session: Session, now: int) -> None:
        """End the session of a peer whose lease has lapsed."""
        self._metrics.leases_lapsed += 1
        self._drop(session)
        text = "silent, its lease lapsed"
        if session.stall is not None and session.stall.is_reported:
            text = f"silent for {(now - session.beat_at) // 1000} s, its interpreter was held"
        # Not `presumed`: a function that stops its process for so long will do so again.
        released = self._machine.release_pid(session.pid, now, crash=_crash_of(session, text))
        self._count_died(released)
        self._add_event("warning", "silent; lease lapsed", session, released=len(released))

    def _count_died(self, ids: Iterable[str]) -> None:
        """Count the attempts that ended because their nodes were lost."""
        for id_ in ids:
            task = self._machine.view.task(id_)
            if task is not None:
                self._metrics.count_attempts(group_of(task.target), "died")

    def _presume_dead(self, pid: str, had: Iterable[tuple[str, int]]) -> None:
        """Remember the tasks of a peer that was given up, because it may not have crashed.

        If the peer comes back after all, the crash is no longer counted against these tasks.
        """
        self._presumed_dead[pid] = tuple(had)
        if len(self._presumed_dead) > PRESUMED_DEAD_MAX:
            del self._presumed_dead[next(iter(self._presumed_dead))]

    def next_due(self) -> int | None:
        """Return when `mark_polled` and `tick` are due again; the broker may sleep until then."""
        due_at, answer_at = self._sessions.overdue_at, self._answer_at
        beat_ms = self._config.beat_ms
        if not self._sessions.by_peer and due_at is None:
            self._sleeps_until = None
        else:
            # With nothing at stake, the broker may sleep from one heartbeat of an idle peer to the
            # next. Otherwise it wakes often enough to notice silent peers, and its own gaps.
            at_stake = self._machine.view.acquired_count or due_at is not None
            sleep_ms = beat_ms // 2 if at_stake else IDLE_BEATS * beat_ms
            self._sleeps_until = self._polled_at + sleep_ms
            if due_at is None or self._sleeps_until < due_at:
                due_at = self._sleeps_until
        if answer_at is not None and (due_at is None or answer_at < due_at):
            due_at = answer_at
        return due_at

    def _add_event(self, level: str, text: str, session: Session, **fields: object) -> None:
        if session.kind != "node" and level == "info":
            # Each command that a person enters is a client of its own.
            level = "debug"
        who = {"name": session.name, "group": session.group, "kind": session.kind}
        if session.identity is not None:
            who["identity"] = session.identity
        self._events.add(level, text, **who, **fields)


def _welcome(
    config: BrokerConfig, own: OwnSlots, pid: str, lost: tuple[str, ...], now: int
) -> Welcome:
    return Welcome(
        protocol=PROTOCOL_VERSION,
        broker=config.name,
        pid=pid,
        lease_ttl_ms=config.lease_ttl_ms,
        beat_ms=config.beat_ms,
        inflight_max=config.inflight_max,
        frame_bytes_max=config.frames.frame_bytes_max,
        payload_bytes_max=config.limits.payload_bytes_max,
        lost=lost,
        now=now,
        routes_functions=True,
        deployment=config.deployment,
        slots=own.map,
        tells_functions=True,
        takes_progress=True,
    )


def _taken(
    session: Session, message: Functions, config: BrokerConfig
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the functions for which there is room, as there is in a hello."""
    count = config.functions_max - len(session.functions)
    chars = config.functions_chars_max - sum(map(len, session.functions))
    taken: list[tuple[str, int]] = []
    for name, version in zip(message.functions, message.versions, strict=False):
        chars -= len(name)
        if len(taken) == count or chars < 0 or len(name) > config.function_chars_max:
            break
        taken.append((name, version))
    return tuple(name for name, _ in taken), tuple(version for _, version in taken)


def _crash_of(session: Session, text: str) -> str:
    """Return how a node vanished, as the cause to store with the tasks that it held."""
    return f"{session.kind} {session.name} (process {session.os_pid} on {session.host}): {text}"
