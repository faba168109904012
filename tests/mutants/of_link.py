"""Faults of a peer's link: its session, its heartbeats, and the threads that poll its socket."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/broker").mutant
_POLLING: Final = "transport/test_polling.py"
_SOCKETS: Final = "tests/integration/broker/test_sockets.py"
_SESSION: Final = "link/test_session.py"
_HEARTBEAT: Final = "link/test_heartbeat.py"
_NAMES: Final = "tests/integration/broker/test_addresses.py"
_PULSES: Final = "tests/integration/broker/test_pulses.py"
_HANDOFF: Final = "tests/integration/broker/test_poll_handoff.py"

_SESSIONS: Final = (
    _mutant(
        "not-sent-again",
        None,
        "unanswered requests are sent again on the next connection",
        "understudy_broker.link.session.LinkSession._welcomed",
        swap("list(self._open_requests)", "[]"),
        _SESSION,
    ),
    _mutant(
        "sent-again-in-another-order",
        None,
        "requests are sent again in their order, because later ones rely on earlier ones",
        "understudy_broker.link.session.LinkSession._welcomed",
        swap("list(self._open_requests)", "list(self._open_requests)[::-1]"),
        _SESSION,
    ),
    _mutant(
        "answered-twice",
        None,
        "a request is answered once, even if it was sent twice",
        "understudy_broker.link.session.LinkSession._answer",
        swap("self._open_requests.pop(answer.corr, None)", "self._open_requests.get(answer.corr)"),
        _SESSION,
    ),
    _mutant(
        "missing-frame-of-the-broker",
        None,
        "a missing frame of the broker ends the connection",
        "understudy_broker.link.session.LinkSession.accepts",
        swap("self._must_reconnect = True", "self._must_reconnect = False"),
        _SESSION,
    ),
    _mutant(
        "throttled-for-ever",
        None,
        "a request refused with 429 is sent again after an answer or a heartbeat",
        "understudy_broker.link.session.LinkSession.receive",
        drop("self._throttle.heard()"),
        _SESSION,
    ),
    _mutant(
        "refused-is-dropped",
        None,
        "a request refused with 429 is not lost",
        "understudy_broker.link.session.LinkSession._refused",
        drop("self._hold(refused.corr, opened)"),
        _SESSION,
    ),
    _mutant(
        "brokers-bound-ignored",
        None,
        "a peer sends no more unanswered requests than the broker allows",
        "understudy_broker.link.session.LinkSession._release_held",
        swap(
            "self._inflight_max - (len(self._open_requests) - self._held_count)",
            "self.backlog_max",
        ),
        _SESSION,
    ),
)

_HEARTBEATS: Final = (
    _mutant(
        "silent-broker-trusted",
        None,
        "a connection is given up after three intervals of the broker's silence",
        "understudy_broker.link.heartbeat.Heartbeat.beat",
        swap(
            "self._heard_at + SILENT_INTERVALS * self.interval_ms",
            "self._heard_at + 2 * SILENT_INTERVALS * self.interval_ms",
        ),
        _HEARTBEAT,
    ),
    _mutant(
        "no-heartbeat",
        None,
        "a peer sends heartbeats, or its lease lapses",
        "understudy_broker.link.session.LinkSession.take_frames",
        drop("self.outgoing.append(Beat())"),
        _HEARTBEAT,
    ),
    _mutant(
        "idle-while-it-holds",
        11,
        "only a peer with nothing at stake sends fewer heartbeats",
        "understudy_broker.link.heartbeat.Heartbeat.beat",
        swap("waiting or self._waiting or self._is_busy()", "waiting or self._waiting"),
        _HEARTBEAT,
    ),
    _mutant(
        "idle-while-a-heartbeat-is-unanswered",
        None,
        "an unanswered heartbeat ends the idleness, because the broker may be gone",
        "understudy_broker.link.heartbeat.Heartbeat.beat",
        swap("waiting or self._waiting or self._is_busy()", "waiting or self._is_busy()"),
        _HEARTBEAT,
    ),
    _mutant(
        "idle-while-a-request-is-unanswered",
        None,
        "an unanswered request ends the idleness",
        "understudy_broker.link.heartbeat.Heartbeat.beat",
        swap("waiting or self._waiting or self._is_busy()", "self._waiting or self._is_busy()"),
        _HEARTBEAT,
    ),
    _mutant(
        "welcome-leaves-the-default-interval",
        None,
        "a peer sends heartbeats as often as the broker's welcome says",
        "understudy_broker.link.heartbeat.Heartbeat.welcome",
        drop("self.interval_ms = welcome.beat_ms"),
        _HEARTBEAT,
    ),
)

_BUSY_POLLING: Final = (
    _mutant(
        "polls-for-ever",
        None,
        "after a busy poll without a message the socket sleeps, until a sleep was short again",
        "understudy_broker.transport.polling.BusyPoll.poll",
        drop("self.worthwhile = False"),
        f"{_POLLING}::test_it_gives_up_after_its_limit_and_then_sleeps",
    ),
    _mutant(
        "polls-past-its-time",
        None,
        "a busy poll ends with the pause",
        "understudy_broker.transport.polling.BusyPoll.poll",
        swap("min(self._limit_s, timeout_s)", "self._limit_s"),
        f"{_POLLING}::test_it_gives_up_after_its_limit_and_then_sleeps",
    ),
    _mutant(
        "polls-after-any-sleep",
        None,
        "only a short sleep makes busy polling worthwhile",
        "understudy_broker.transport.polling.BusyPoll.record_sleep",
        swap("seconds < SHORT_WAIT_S and self._limit_s > 0", "self._limit_s > 0"),
        f"{_POLLING}::test_it_polls_only_after_a_short_sleep",
    ),
    _mutant(
        "polls-on-one-processor",
        None,
        "on a single processor the sender could not run during a busy poll",
        "understudy_broker.transport.polling.BusyPoll.__init__",
        swap("limit_s if available_processors() > 1 else 0.0", "limit_s"),
        f"{_POLLING}::test_it_never_polls",
    ),
    _mutant(
        "yields-no-processor",
        None,
        "a busy poll lets other processes run",
        "understudy_broker.transport.polling.BusyPoll.poll",
        drop("_yield_processor()"),
        f"{_POLLING}::test_it_yields_the_processor_between_two_polls",
    ),
    _mutant(
        "never-learns-to-poll",
        None,
        "the socket records its sleeps, or busy polling is never worthwhile",
        "understudy_broker.transport.socket.TrioSocket._pause",
        drop("busy_poll.record_sleep(now - began)"),
        f"{_SOCKETS}::test_busy_polling_loses_nothing",
    ),
    _mutant(
        "other-tasks-starve-while-it-polls",
        None,
        "other tasks run even while busy polling finds one message after the other",
        "understudy_broker.transport.socket.TrioSocket._pause",
        swap("began - self._yielded_at > _OTHER_TASKS_WAIT_S", "began < self._yielded_at"),
        f"{_SOCKETS}::test_other_tasks_run_while_busy_polling_finds_messages",
    ),
    _mutant(
        "busy-poll-setting-not-passed-on",
        None,
        "the limit of busy polling is a setting",
        "understudy_broker.server.settings.BrokerSettings.broker_config",
        swap(
            "self.deaths_max, busy_poll_us=self.busy_poll_us, peers_max",
            "self.deaths_max, peers_max",
        ),
        f"{_SOCKETS}::test_the_limit_of_busy_polling_is_a_setting_of_the_broker",
    ),
    _mutant(
        "busy-poll-setting-ignored",
        None,
        "the limit of busy polling is a setting",
        "understudy_broker.server.server.serve",
        swap("busy_poll_s=config.busy_poll_us / 1e6", "busy_poll_s=0.0"),
        f"{_SOCKETS}::test_the_limit_of_busy_polling_is_a_setting_of_the_broker",
    ),
)

_POLL_HANDOFF: Final = (
    _mutant(
        "polling-not-handed-back",
        None,
        "the loop polls again after a worker has polled",
        "understudy_broker.transport.polling.PollHandoff.hand_back",
        drop("self._epoll.modify(self._socket_fd, select.EPOLLIN)"),
        f"{_HANDOFF}::test_a_poll_ends_without_input_or_when_interrupted",
    ),
    _mutant(
        "loop-polls-as-well",
        None,
        "while a worker polls, the loop sleeps on",
        "understudy_broker.transport.polling.PollHandoff.take_over",
        drop("self._epoll.modify(self._socket_fd, 0)"),
        f"{_HANDOFF}::test_a_worker_receives_messages_while_the_loop_sleeps",
    ),
    _mutant(
        "interruption-not-consumed",
        None,
        "an interruption ends one poll, not all that follow",
        "understudy_broker.transport.polling.PollHandoff.poll",
        drop("os.eventfd_read(fd)"),
        f"{_HANDOFF}::test_an_interruption_ends_one_poll_only",
    ),
    _mutant(
        "closed-under-a-poll",
        None,
        "descriptors stay open while a worker polls, because their numbers are reused",
        "understudy_broker.transport.polling.PollHandoff.close",
        swap("not self._worker_polls", "self._closed"),
        f"{_HANDOFF}::test_a_closed_handoff_uses_no_descriptor",
    ),
    _mutant(
        "descriptors-leak",
        None,
        "a worker that polled a connection closed meanwhile closes its descriptors",
        "understudy_broker.transport.polling.PollHandoff.hand_back",
        drop("self._close_descriptors()"),
        f"{_HANDOFF}::test_a_closed_handoff_uses_no_descriptor",
    ),
    _mutant(
        "interrupts-another-files-descriptor",
        None,
        "a closed hand-off uses no descriptor",
        "understudy_broker.transport.polling.PollHandoff.interrupt",
        swap("not self._closed", "self._lock"),
        f"{_HANDOFF}::test_a_closed_handoff_uses_no_descriptor",
    ),
    _mutant(
        "closed-and-not-interrupted",
        None,
        "closing a connection ends a worker's poll at once",
        "understudy_broker.transport.polling.PollHandoff.close",
        drop("self.interrupt()"),
        f"{_HANDOFF}::test_a_closed_handoff_uses_no_descriptor",
    ),
    _mutant(
        "no-handoff-no-link",
        None,
        "when there are no more descriptors, the loop always polls",
        "understudy_broker.transport.polling.poll_handoff_for",
        swap("OSError", "ValueError"),
        f"{_HANDOFF}::test_without_eventfd_or_descriptors_the_loop_always_polls",
    ),
)

_WORKER_POLLS: Final = (
    _mutant(
        "end-of-poll-not-reported",
        None,
        "a worker reports the end of its poll, and sees runs submitted from then on",
        "understudy_broker.link.connection.LinkConnection.poll",
        drop("on_polled()"),
        f"{_HANDOFF}::test_a_poll_ends_without_input_or_when_interrupted",
    ),
    _mutant(
        "lock-kept-after-an-error",
        None,
        "the loop gets its lock back, whatever became of the messages",
        "understudy_broker.link.connection.LinkConnection.poll",
        swap(
            "    return self._receive_with_lock(socket)\nfinally:\n    loop_lock.release()",
            "    received = self._receive_with_lock(socket)\n"
            "    loop_lock.release()\n"
            "    return received\n"
            "finally:\n"
            "    pass",
        ),
        f"{_HANDOFF}::test_an_error_is_raised_on_the_worker_and_the_loop_goes_on",
    ),
    _mutant(
        "reads-another-connection",
        None,
        "a worker does not read a connection that replaced the one it polled",
        "understudy_broker.link.connection.LinkConnection._receive_with_lock",
        swap(
            "self.socket is not socket or not self.session.connected",
            "not self.session.connected",
        ),
        f"{_HANDOFF}::test_a_connection_that_was_replaced_meanwhile_is_not_read",
    ),
    _mutant(
        "work-begun-during-the-goodbye",
        None,
        "a node that has stopped begins no task",
        "understudy_broker.link.connection.LinkConnection._receive_with_lock",
        swap("self.session.connected or self._leaving", "self.session.connected"),
        f"{_HANDOFF}::test_messages_during_the_goodbye_are_dropped",
    ),
    _mutant(
        "leaves-without-goodbye",
        None,
        "a peer that stops says goodbye, and its tasks go to others at once",
        "understudy_broker.link.connection.LinkConnection._connect_once",
        swap("except* trio.Cancelled", "except trio.Cancelled"),
        f"{_HANDOFF}::test_messages_during_the_goodbye_are_dropped",
    ),
    _mutant(
        "rest-left-unread",
        None,
        "the loop reads the messages that one bounded receive left, although no event signals them",
        "understudy_broker.link.connection.LinkConnection._receive_with_lock",
        swap("session.is_broken(now) or socket.has_unread", "session.is_broken(now)"),
        f"{_HANDOFF}::test_messages_past_the_bound_of_one_receive_are_left_to_the_loop",
    ),
    _mutant(
        "broken-and-the-loop-not-woken",
        None,
        "the loop gives up a connection when a worker has received its end",
        "understudy_broker.link.connection.LinkConnection._receive_with_lock",
        swap("session.is_broken(now) or socket.has_unread", "socket.has_unread"),
        f"{_HANDOFF}::test_a_bye_that_a_worker_receives_leads_to_a_new_hello",
    ),
    _mutant(
        "refused-and-the-loop-not-woken",
        None,
        "the loop ends a link when a worker has received its refusal",
        "understudy_broker.link.connection.LinkConnection._receive_with_lock",
        swap(
            "session.failure is not None or session.is_broken(now)",
            "session.is_broken(now)",
        ),
        f"{_HANDOFF}::test_a_refusal_for_good_that_a_worker_receives_ends_the_link",
    ),
    _mutant(
        "event-set-on-another-thread",
        None,
        "trio's own objects are used on the loop's own thread only",
        "understudy_broker.transport.loop_lock.LoopThread.run",
        swap("threading.get_ident() == self._ident", "self._ident"),
        f"{_HANDOFF}::test_a_task_that_waits_for_room_is_woken_by_a_worker",
        f"{_HANDOFF}::test_a_task_gets_an_answer_that_a_worker_received",
    ),
)

_ADDRESSES: Final = (
    _mutant(
        "first-address-only",
        None,
        "a name's addresses are tried in turn until one answers",
        "understudy_broker.link.connection.LinkConnection._step",
        swap("self._destination.has_others", "False"),
        f"{_NAMES}::test_a_broker_at_ipv6_is_reached_by_name",
    ),
    _mutant(
        "working-address-forgotten",
        None,
        "a peer that lost its connection goes back at once, without a look-up",
        "understudy_broker.transport.host_names.Destination.keep",
        drop("self._left.insert(0, address)"),
        f"{_NAMES}::test_the_address_that_worked_is_taken_again_without_a_look_up",
    ),
    _mutant(
        "names-looked-up-once",
        None,
        "a name is looked up again, because it may get an address later",
        "understudy_broker.link.connection.LinkConnection._connect_once",
        swap("return", "raise"),
        f"{_NAMES}::test_an_unknown_name_is_named_and_looked_up_again",
    ),
    _mutant(
        "pulse-over-ipv4-only",
        None,
        "a node shows its pulse also over IPv6",
        "understudy_broker.link.pulse.Pulse._show",
        swap("int(is_ipv6(self._url))", "0"),
        f"{_NAMES}::test_a_node_shows_its_pulse_over_ipv6",
    ),
    _mutant(
        "pulse-that-fails-ends-the-node",
        None,
        "a node whose pulse cannot be shown goes on",
        "understudy_broker.link.pulse.Pulse.keep",
        swap("suppress(zmq.ZMQError)", "suppress()"),
        _PULSES,
    ),
    _mutant(
        "silent-pulse-is-trusted",
        None,
        "a lease is not extended for a pulse that fell silent before its first ping",
        "understudy_broker.server.server.Server._is_silent",
        swap("silence_ms >= self._core.config.lease_ttl_ms", "False"),
        _PULSES,
    ),
    _mutant(
        "polls-while-the-store-looks-up",
        None,
        "the loop does not poll while a thread of the store is about to wake it",
        "understudy_broker.server.server.Server._pause",
        swap("lookup is not None or not self._core.looking_up", "True"),
        "server/test_pauses.py",
    ),
    _mutant(
        "refused-hello-keeps-its-connection",
        None,
        "a peer that is refused for now frees its descriptor, and tries again",
        "understudy_broker.link.session.LinkSession._refused",
        drop("self._must_reconnect = self._must_reconnect or not self.connected"),
        _SESSION,
    ),
    _mutant(
        "strangers-keep-descriptors",
        None,
        "a connection that says nothing is closed after a while",
        "understudy_broker.transport.zeromq_router.bind_router",
        drop("router.set(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)"),
        "tests/integration/broker/test_daemon.py::test_a_connection_that_says_nothing_is_closed",
    ),
    _mutant(
        "crowd-unsaid",
        None,
        "the log says that connections are too many although no peer asks for anything",
        "understudy_broker.core.core.BrokerCore.note_connections",
        drop("self._receiver.has_input = True"),
        "core/test_membership.py::test_too_many_connections_are_logged_once_a_minute",
    ),
    _mutant(
        "newcomer-in-a-crowd",
        None,
        "no further peer is taken while there are too many connections",
        "understudy_broker.core.admission.Admission._no_room",
        swap("self._connections > config.connections_max", "self._connections < 0"),
        "core/test_membership.py::test_too_many_connections_are_logged_once_a_minute",
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (
    *_SESSIONS,
    *_HEARTBEATS,
    *_BUSY_POLLING,
    *_POLL_HANDOFF,
    *_WORKER_POLLS,
    *_ADDRESSES,
)
