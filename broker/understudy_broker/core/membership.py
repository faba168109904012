"""Membership: hellos, leases, lost connections; who holds tasks and who no longer does.

Part of the core, and as pure. A lease is kept by a peer's own beats, one for all that it holds. A
connection that closes starts a short grace in which the peer may come back and claim what it holds;
a silent one is given up when its lease lapses. One that holds nothing may beat more rarely, and is
given up half a lease later.

While the broker itself did not listen (stopped, starved, a stuck disk), silence says nothing about
the peers: after such a gap all leases are renewed before anything else happens.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from understudy_broker.core.sessions import Session, Sessions, check_hello, name_of, pid_of
from understudy_broker.core.watches import Watches
from understudy_broker.protocol.messages import (
    IDLE_BEATS,
    PROTOCOL_VERSION,
    Beat,
    Bye,
    Hello,
    Refused,
    Welcome,
)
from understudy_store.commands import TaskHeartbeat

if TYPE_CHECKING:
    from understudy_broker.core.context import BrokerContext


#: how often beats are answered, in the time between two beats of one peer
ANSWERS_PER_BEAT: Final = 8
#: up to so many peers, each beat is answered at once: the broker is awake for it as it is
FEW_PEERS: Final = 16
#: peers that were given up and may come back, the last ones
DOUBTED_MAX: Final = 256


class Event(msgspec.Struct, frozen=True):
    """Something worth a line in the log."""

    level: str
    text: str
    fields: dict[str, Any]


def _death(session: Session, how: str) -> str:
    """How a node vanished, for the tasks that it held."""
    return f"{session.kind} {session.name} (process {session.os_pid} on {session.host}): {how}"


class Membership:
    """The sessions of a core, and what becomes of the tasks of those that leave."""

    def __init__(self, core: BrokerContext, watches: Watches) -> None:
        self._core = core
        self._config = core.config
        self._machine = core.machine
        self._dispatcher = core.dispatcher
        self._watches = watches
        self.sessions = Sessions()
        self._events: list[Event] = []
        #: those that were given up, and may have been cut off only: what each had
        self._doubted: dict[str, tuple[tuple[str, int], ...]] = {}
        self._polled_at = 0
        #: until when the broker may go without polling; None: nobody is there who would mind
        self._sleeps_until: int | None = None
        self._forgiving_until = 0
        self._resend_at = 0
        #: peers that have beaten, and when they are told that this broker lives too
        self._unanswered: dict[bytes, None] = {}
        self._answer_at: int | None = None

    def start(self, now: int) -> None:
        """Those that hold tasks get time to come back: it was the broker that was away."""
        self._polled_at = now
        self._resend_at = now + self._config.unblock_retry_ms
        for pid in sorted(self._machine.view.pids()):
            self.sessions.away(pid, now + self._config.boot_grace_ms)

    def take_events(self) -> list[Event]:
        """What happened since the last call, for the log."""
        events, self._events = self._events, []
        return events

    def note(self, text: str, **fields: Any) -> None:
        """A warning for the log."""
        self._events.append(Event("warning", text, fields))

    def _event(self, level: str, text: str, session: Session, **fields: Any) -> None:
        who = {"name": session.name, "group": session.group, "kind": session.kind}
        if session.kind == "client" and level == "info":
            level = "debug"  # each command of a person is one
        self._events.append(Event(level, text, who | fields))

    # Coming ------------------------------------------------------------------------------------

    def hello(self, peer: bytes, hello: Hello, now: int) -> Session | None:
        """Take a peer in, or refuse it; the same boot may say hello again at any time."""
        refused = self._objection(hello, now)
        if refused is not None:
            self._core.refuse(peer, refused)
            return self.sessions.peer(peer)
        pid = pid_of(hello.name, hello.boot)
        self._make_way(peer, hello.name, pid, now)
        session = Session(peer, hello, now)
        self.sessions.add(session)
        # alive after all: what it had has not killed it, even what was still on its way to it
        self._machine.retract_crashes(pid, [*self._doubted.pop(pid, ()), *hello.claims])
        self._machine.release_pid(pid, now, keep=frozenset(hello.claims))
        self._machine.apply(TaskHeartbeat(pid), now)
        if session.kind == "node":
            self._dispatcher.join(pid, session.group, session.name, now)
            self._dispatcher.credit(pid, hello.credit)
        lost = tuple(id_ for id_, version in hello.claims if not self._has(pid, id_, version))
        self._core.say(peer, self._welcome(pid, lost, now), urgent=True)
        for owner, unblock in self._core.unblocks.for_group(session.group, self.sessions):
            if owner is session:
                self._core.say(peer, unblock)
        kept = len(hello.claims) - len(lost)
        self._event("info", "joined", session, pid=pid, kept=kept, lost=len(lost))
        return session

    def _has(self, pid: str, id_: str, version: int) -> bool:
        """Whether a claim holds: acquired, or suspended by the one who had that version last."""
        if self._machine.view.holds(pid, id_, version):
            return True
        task = self._machine.view.task(id_)
        return task is not None and task.state == "suspended" and task.version == version

    def _objection(self, hello: Hello, now: int) -> Refused | None:
        if hello.protocol != PROTOCOL_VERSION:
            text = f"protocol version {hello.protocol}; this broker speaks {PROTOCOL_VERSION}"
            return Refused(426, text, fatal=True)
        wrong = check_hello(hello, self._config)
        if wrong is not None:
            return Refused(400, wrong, fatal=True)
        other = self.sessions.named(hello.name)
        if other is None:
            if len(self.sessions) >= self._config.peers_max:
                return Refused(429, f"{self._config.peers_max} peers are connected already")
            return None
        alive = now - other.heard_at < self._config.lease_ttl_ms
        if other.pid != pid_of(hello.name, hello.boot) and alive:
            text = (
                f"the name {hello.name!r} is in use by a {other.kind} of group {other.group!r} "
                f"(process {other.os_pid} on {other.host}): give this one another name"
            )
            return Refused(409, text, fatal=True)
        return None

    def _make_way(self, peer: bytes, name: str, pid: str, now: int) -> None:
        """End what this name, or this connection, was before."""
        for other in (self.sessions.named(name), self.sessions.peer(peer)):
            if other is None or self.sessions.peer(other.peer) is not other:
                continue
            self._drop(other)
            if other.pid != pid:
                taken = "another process has its name"
                death = _death(other, taken) if other.name == name else None
                self._machine.release_pid(other.pid, now, crash=death, presumed=True)
        for away in self.sessions.away_named(name):
            how = self.sessions.forget(away)
            if away != pid:
                self._machine.release_pid(away, now, crash=how, presumed=True)

    def _welcome(self, pid: str, lost: tuple[str, ...], now: int) -> Welcome:
        config = self._config
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
        )

    def beaten(self, session: Session, now: int) -> None:
        """A beat has come. In a crowd of peers its answer waits for those of others: an answer at a
        time costs a wake-up each, and they wait for it to be there, not for it to be soon."""
        self.renew(session, now)
        self._unanswered[session.peer] = None
        if self._answer_at is None:
            wait_ms = self._config.beat_ms // ANSWERS_PER_BEAT
            self._answer_at = now + wait_ms if len(self.sessions) > FEW_PEERS else now

    def _answer_beats(self) -> None:
        peers, self._unanswered, self._answer_at = self._unanswered, {}, None
        for peer in peers:
            if peer in self.sessions:
                self._core.say(peer, Beat(), urgent=True)

    def renew(self, session: Session, now: int) -> None:
        """Its lease on everything begins anew."""
        self.sessions.beaten(session, now)
        self._machine.apply(TaskHeartbeat(session.pid), now)

    def entrusted(self, session: Session, now: int) -> None:
        """It was handed a task: a lease begins, however long ago its last beat was. Not so if it
        holds others: their lease runs, and one that is silent would keep them as long as it gets
        more."""
        if self._machine.view.held_count(session.pid) == 1:
            self.sessions.beaten(session, now)

    # Going -------------------------------------------------------------------------------------

    def _drop(self, session: Session) -> None:
        self.sessions.remove(session)
        self._watches.drop(session)
        self._dispatcher.leave(session.pid)

    def bye(self, session: Session, now: int) -> None:
        """It leaves in order: what it still holds goes to others at once."""
        if self.sessions.peer(session.peer) is not session:
            return
        # so that it need not guess how long its own goodbye takes to arrive
        self._core.say(session.peer, Bye(), urgent=True)
        self._drop(session)
        released = self._machine.release_pid(session.pid, now)
        self._event("info", "left", session, released=len(released))

    def connection_lost(self, peer: bytes, now: int, reason: str) -> None:
        """It gets no more work; its tasks go to others unless it is back within the grace."""
        session = self.sessions.peer(peer)
        if session is None:
            return
        self._core.counters.connections_lost += 1
        self._drop(session)
        # after a gap of the broker's own, peers have taken it for dead and are on their way back
        grace_ms, how = self._config.reconnect_grace_ms, None
        if now < self._forgiving_until:
            grace_ms = max(grace_ms, self._config.boot_grace_ms)
        else:
            how = _death(session, reason)
        self.sessions.away(session.pid, now + grace_ms, how)
        held = self._machine.view.held_count(session.pid)
        self._event("info" if not held else "warning", reason, session, held=held)

    def polled(self, now: int) -> None:
        """Peers have been listened to until `now`; after a gap their silence is forgiven."""
        beat_ms = self._config.beat_ms
        # As it was when the broker went to sleep: who is lost when it wakes is lost already.
        late_ms = 0 if self._sleeps_until is None else now - self._sleeps_until
        self._polled_at = now
        self._sleeps_until = now + beat_ms // 2
        if late_ms <= beat_ms // 2:
            return
        if late_ms > beat_ms * 3 // 2:
            self._forgiving_until = now + self._config.boot_grace_ms
        for session in self.sessions:
            session.heard_at = now
            self.renew(session, now)
        self.sessions.extend_away(now + self._config.reconnect_grace_ms)

    def _sleep_ms(self) -> int:
        """How long the broker may go without looking whether somebody has fallen silent, and
        whether it was itself held up: with nothing at stake, from one beat of an idle peer to the
        next."""
        beat_ms = self._config.beat_ms
        if self._machine.view.acquired_count or self.sessions.next_overdue() is not None:
            return beat_ms // 2
        return IDLE_BEATS * beat_ms

    def tick(self, now: int) -> None:
        """Give up those whose time is over, and send unblocks again that nobody acknowledged."""
        for pid, how in self.sessions.overdue(now):
            # connections break without anybody dying: who comes back after all takes it back
            had = self._machine.view.held(pid)
            released = self._machine.release_pid(pid, now, crash=how, presumed=True)
            if released:
                self._doubt(pid, had)
                fields = {"name": name_of(pid), "released": len(released)}
                self._events.append(Event("warning", "gone; its tasks go to others", fields))
        # Beats that nobody has read yet are not silence: what counts is the last poll.
        ttl = self._config.lease_ttl_ms
        for session in self.sessions.silent(self._polled_at - ttl):
            # with nothing at stake it beats so rarely that it may be late for as long again
            late = self._polled_at - session.beat_at < ttl * 3 // 2
            if late and not self._machine.view.held_count(session.pid):
                continue
            self._core.counters.leases_lapsed += 1
            self._drop(session)
            # Not presumed dead: a function that stops its whole process for so long stops it again
            death = _death(session, "silent, its lease lapsed")
            released = self._machine.release_pid(session.pid, now, crash=death)
            self._event("warning", "silent; lease lapsed", session, released=len(released))
        if self._answer_at is not None and now >= self._answer_at:
            self._answer_beats()
        if now >= self._resend_at:
            self._resend_at = now + self._config.unblock_retry_ms
            for group in self.sessions.groups():
                for session, unblock in self._core.unblocks.for_group(group, self.sessions):
                    self._core.say(session.peer, unblock)

    def _doubt(self, pid: str, had: Iterable[tuple[str, int]]) -> None:
        """Remember what it had when it was given up, in case it comes back."""
        self._doubted[pid] = tuple(had)
        if len(self._doubted) > DOUBTED_MAX:
            del self._doubted[next(iter(self._doubted))]

    def next_due(self) -> int | None:
        """When `polled` and `tick` want to be called again; until then the broker may sleep."""
        times = [self.sessions.next_overdue(), self._answer_at]
        self._sleeps_until = None
        if len(self.sessions) or times[0] is not None:
            self._sleeps_until = self._polled_at + self._sleep_ms()
            times.append(self._sleeps_until)
        if self._core.unblocks:
            times.append(self._resend_at)
        return min((at for at in times if at is not None), default=None)
