"""Faults of who counts as alive, and of what becomes of the tasks of those who do not."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/broker").mutant
_FLOW: Final = "core/test_flow_control.py"
_HEARTBEAT: Final = "link/test_heartbeat.py"
_MEMBERS: Final = "core/test_membership.py"
_LEASES: Final = "core/test_leases.py"
_PULSES: Final = "core/test_pulses.py"
_GAPS: Final = "core/test_gaps.py"
_QUARANTINE: Final = "core/test_quarantine.py"

_MEMBERSHIP: Final = (
    _mutant(
        "claims-ignored",
        None,
        "a peer that comes back within the grace keeps its claims",
        "understudy_broker.core.membership.Membership.join",
        swap("now, keep=frozenset(claims)", "now"),
        _MEMBERS,
    ),
    _mutant(
        "unclaimed-kept",
        18,
        "a task that a returning node does not claim goes to others",
        "understudy_broker.core.membership.Membership.join",
        drop("self._machine.release_pid(pid, now, keep=frozenset(claims))"),
        _MEMBERS,
    ),
    _mutant(
        "living-name-taken-over",
        10,
        "the name of a living process is not taken over",
        "understudy_broker.core.admission.Admission.reject_reason",
        swap(
            "other.pid != pid_of(hello.name, hello.boot) and alive",
            "other.pid != pid_of(hello.name, hello.boot) and not alive",
        ),
        _MEMBERS,
    ),
    _mutant(
        "gone-and-still-holding",
        18,
        "a peer that does not come back within the grace loses its tasks",
        "understudy_broker.core.sessions.Sessions.take_overdue",
        swap("until <= now", "until <= now and until < 0"),
        _MEMBERS,
    ),
    _mutant(
        "no-grace",
        None,
        "a broken connection may be opened again within the grace",
        "understudy_broker.core.membership.Membership.connection_lost",
        swap("now + grace_ms", "now"),
        _MEMBERS,
    ),
    _mutant(
        "silent-and-still-holding",
        18,
        "a peer that is silent for its lease loses its tasks",
        "understudy_broker.core.membership.Membership.tick",
        swap(
            "self._polled_at - self._config.lease_ttl_ms",
            "self._polled_at - 3 * self._config.lease_ttl_ms",
        ),
        _LEASES,
    ),
    _mutant(
        "silent-and-spared",
        18,
        "only a peer that holds nothing may be late with its heartbeat",
        "understudy_broker.core.membership.Membership._give_up_silent",
        swap("late and not self._machine.view.held_count(session.pid)", "late"),
        _LEASES,
    ),
    _mutant(
        "handed-over-without-a-lease",
        None,
        "a task handed to an idle peer has a whole lease",
        "understudy_broker.core.membership.Membership.begin_lease",
        swap(
            "self._machine.view.held_count(session.pid) == 1",
            "self._machine.view.held_count(session.pid) == 0",
        ),
        _LEASES,
    ),
    _mutant(
        "kept-by-getting-more",
        18,
        "a silent peer does not keep its tasks because it is handed others",
        "understudy_broker.core.membership.Membership.begin_lease",
        swap(
            "self._machine.view.held_count(session.pid) == 1",
            "self._machine.view.held_count(session.pid) >= 1",
        ),
        _LEASES,
    ),
    _mutant(
        "beat-not-answered",
        None,
        "a broker answers heartbeats",
        "understudy_broker.core.membership.Membership._answer_beats",
        drop("self._outbox.add_urgent(peer, Beat())"),
        _LEASES,
    ),
    _mutant(
        "beat-answered-late",
        None,
        "a heartbeat is answered before the next one is due",
        "understudy_broker.core.membership.Membership.on_beat",
        swap("self._config.beat_ms // REPLIES_PER_BEAT", "self._config.beat_ms"),
        _LEASES,
    ),
    _mutant(
        "beat-answered-alone",
        None,
        "heartbeats of many peers are answered together",
        "understudy_broker.core.membership.Membership.on_beat",
        swap("now + wait_ms if len(self._sessions) > FEW_PEERS else now", "now"),
        _LEASES,
    ),
    _mutant(
        "beat-of-few-kept-waiting",
        None,
        "a broker of few peers does not wake a second time to answer a heartbeat",
        "understudy_broker.core.membership.Membership.on_beat",
        swap("now + wait_ms if len(self._sessions) > FEW_PEERS else now", "now + wait_ms"),
        _LEASES,
    ),
    _mutant(
        "sleep-while-a-task-is-held",
        None,
        "while a task is held, the broker wakes twice per heartbeat",
        "understudy_broker.core.membership.Membership.next_due",
        swap("self._machine.view.acquired_count or due_at is not None", "due_at is not None"),
        _GAPS,
    ),
    _mutant(
        "sleep-while-somebody-is-away",
        None,
        "while a peer may come back, the broker wakes twice per heartbeat",
        "understudy_broker.core.membership.Membership.next_due",
        swap(
            "self._machine.view.acquired_count or due_at is not None",
            "self._machine.view.acquired_count",
        ),
        _GAPS,
    ),
    _mutant(
        "wakes-for-nothing",
        None,
        "a broker with nothing at stake sleeps until the next heartbeat of an idle peer",
        "understudy_broker.core.membership.Membership.next_due",
        swap("IDLE_BEATS * beat_ms", "beat_ms // 2"),
        _GAPS,
    ),
    _mutant(
        "sleep-judged-by-what-came-after",
        None,
        "a peer that is lost when the broker wakes does not turn its sleep into a gap",
        "understudy_broker.core.membership.Membership.mark_polled",
        swap(
            "0 if self._sleeps_until is None else now - self._sleeps_until",
            "now - self._polled_at - (beat_ms // 2 if self._machine.view.acquired_count"
            " or self._sessions.overdue_at is not None else IDLE_BEATS * beat_ms)",
        ),
        _GAPS,
    ),
    _mutant(
        "nobody-there-taken-for-a-pause",
        None,
        "sleep without any peer is no gap",
        "understudy_broker.core.membership.Membership.next_due",
        drop("self._sleeps_until = None"),
        _GAPS,
    ),
    _mutant(
        "pause-after-a-poll-not-seen",
        None,
        "a gap right after a poll is noticed",
        "understudy_broker.core.membership.Membership.mark_polled",
        swap("now + beat_ms // 2", "None"),
        _GAPS,
    ),
    _mutant(
        "owed-and-asleep",
        None,
        "an unblock that is not acknowledged is sent again in time, also by an idle broker",
        "understudy_broker.core.poll_scheme.PollScheme.next_due",
        swap("self._unblocks.owed and", "not self._unblocks.owed and"),
        _GAPS,
    ),
    _mutant(
        "own-sleep-taken-for-a-pause",
        None,
        "a broker that has slept as planned renews no leases",
        "understudy_broker.core.membership.Membership.mark_polled",
        swap(
            "0 if self._sleeps_until is None else now - self._sleeps_until",
            "now - self._polled_at",
        ),
        _GAPS,
    ),
    _mutant(
        "idle-beats-at-any-moment",
        None,
        "idle peers of one machine beat at the same moments, so that one wake-up serves them all",
        "understudy_broker.link.heartbeat.Heartbeat._idle_due_at",
        swap("latest - latest % moment_ms", "latest"),
        _HEARTBEAT,
    ),
    _mutant(
        "idle-beat-after-its-time",
        None,
        "an idle peer never beats later than the broker has said",
        "understudy_broker.link.heartbeat.Heartbeat._idle_due_at",
        swap("latest % moment_ms", "latest % moment_ms + moment_ms"),
        _HEARTBEAT,
    ),
    _mutant(
        "beat-out-of-order",
        18,
        "a peer that has just sent a heartbeat is the last whose lease lapses",
        "understudy_broker.core.sessions.Sessions.renew",
        drop("self._by_beat.move_to_end(session.peer)"),
        _LEASES,
    ),
    _mutant(
        "unread-beats-are-silence",
        None,
        "after the broker itself has paused, the silence of a peer proves nothing",
        "understudy_broker.core.membership.Membership.mark_polled",
        swap("self._renew(session, now)", "session.heard_at = now"),
        _GAPS,
    ),
    _mutant(
        "beat-renews-no-lease",
        11,
        "a beat renews the lease on all that its sender holds",
        "understudy_broker.core.membership.Membership._renew",
        swap("session.pid", "session.name"),
        _LEASES,
    ),
    _mutant(
        "leaving-is-a-death",
        19,
        "an orderly leave is not a crash",
        "understudy_broker.core.membership.Membership.leave",
        swap(
            "self._machine.release_pid(session.pid, now)",
            'self._machine.release_pid(session.pid, now, crash="left")',
        ),
        _QUARANTINE,
    ),
    _mutant(
        "cut-off-counts-as-dead",
        19,
        "a node that was cut off and comes back has not crashed",
        "understudy_broker.core.membership.Membership.join",
        swap("pid, [", '"", ['),
        _QUARANTINE,
    ),
    _mutant(
        "no-time-to-come-back",
        None,
        "after a restart of the broker, holders get time to come back",
        "understudy_broker.core.membership.Membership.start",
        swap(
            "self._sessions.set_away(pid, now + self._config.boot_grace_ms)",
            "self._sessions.set_away(pid, now)",
        ),
        _GAPS,
    ),
    _mutant(
        "bye-before-its-turn",
        None,
        "requests before a goodbye are still performed",
        "understudy_broker.core.receiver.Receiver.receive",
        swap(
            "self._queue.waiting.append((session, message))\nreturn",
            "getattr(self._membership, 'leave')(session, now)\nreturn",
        ),
        _MEMBERS,
        _FLOW,
    ),
    _mutant(
        "stall-without-bound",
        None,
        "a node whose Python stands still for ever is given up in the end",
        "understudy_broker.core.stalls.Stalls.extend",
        swap("now - stall.since >= self._config.stall_max_ms", "False"),
        _PULSES,
    ),
    _mutant(
        "stall-without-pulse",
        None,
        "a silent node without a pulse is given up when its lease lapses",
        "understudy_broker.core.stalls.Stalls.extend",
        swap("session.pulse is None or not", "not"),
        _PULSES,
    ),
    _mutant(
        "stall-outlives-pulse",
        None,
        "a node that only its pulse kept is given up when the pulse ends",
        "understudy_broker.core.stalls.Stalls.end_pulse",
        drop("session.pulse = None"),
        _PULSES,
    ),
    _mutant(
        "stall-gets-work",
        None,
        "a node whose Python stands still gets no further tasks",
        "understudy_broker.core.stalls.Stalls.extend",
        drop("self._dispatcher.pause(session.pid)"),
        _PULSES,
    ),
    _mutant(
        "stall-extends-once",
        None,
        "the lease of a node with a pulse is extended again and again",
        "understudy_broker.core.stalls.Stalls.extend",
        swap(
            "    stall.extended_at = now\n    self._machine.apply(TaskHeartbeat(session.pid), now)",
            "    stall.extended_at = now",
        ),
        _PULSES,
    ),
    _mutant(
        "stall-keeps-credit",
        None,
        "a node that sends heartbeats again has its credit back",
        "understudy_broker.core.stalls.Stalls.end",
        drop("self._dispatcher.resume(session.pid)"),
        _PULSES,
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_MEMBERSHIP,)
