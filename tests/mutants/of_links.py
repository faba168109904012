"""Faults of a peer's link, of who looks for its messages and who listens to it."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Area, Mutant, drop, swap

_mutant = Area("tests/unit/broker").mutant
_BUSY: Final = "transport/test_busy_poll.py"
_SOCKETS: Final = "tests/integration/broker/test_sockets.py"
_LINK: Final = "link/test_session.py"
_LISTENING_TESTS: Final = "tests/integration/broker/test_poll_handoff.py"

_LINKS: Final = (
    _mutant(
        "not-asked-again",
        None,
        "what is unanswered is asked again on the next connection",
        "understudy_broker.link.session.LinkSession._welcomed",
        swap("list(self._open_requests)", "[]"),
        _LINK,
    ),
    _mutant(
        "asked-again-in-another-order",
        None,
        "requests are asked again in their order: later ones rely on earlier ones",
        "understudy_broker.link.session.LinkSession._welcomed",
        swap("list(self._open_requests)", "list(self._open_requests)[::-1]"),
        _LINK,
    ),
    _mutant(
        "answered-twice",
        None,
        "who asked is answered once, even if the request was sent twice",
        "understudy_broker.link.session.LinkSession._answer",
        swap("self._open_requests.pop(answer.corr, None)", "self._open_requests.get(answer.corr)"),
        _LINK,
    ),
    _mutant(
        "missing-frame-of-the-broker",
        None,
        "a frame of the broker that is missing ends the connection",
        "understudy_broker.link.session.LinkSession.in_order",
        swap("self._hello_again = True", "self._hello_again = False"),
        _LINK,
    ),
    _mutant(
        "silent-broker-trusted",
        None,
        "a connection on which the broker is silent for three beats is given up",
        "understudy_broker.link.session.LinkSession._silent_at",
        swap("SILENT_BEATS * self.beat_ms", "2 * SILENT_BEATS * self.beat_ms"),
        _LINK,
    ),
    _mutant(
        "no-beat",
        None,
        "a peer beats, or its lease lapses",
        "understudy_broker.link.session.LinkSession.take_frames",
        drop("self.outgoing.append(Beat())"),
        _LINK,
    ),
    _mutant(
        "rests-while-it-holds",
        11,
        "only one with nothing at stake leaves out beats",
        "understudy_broker.link.session.LinkSession._must_beat",
        swap("None or self._engaged()", "None"),
        _LINK,
    ),
    _mutant(
        "rests-while-unanswered",
        None,
        "a beat that is not answered ends the rest: the broker may be gone",
        "understudy_broker.link.session.LinkSession._must_beat",
        swap(
            "self._pending or self._asked_at is not None or self._engaged()",
            "self._pending or self._engaged()",
        ),
        _LINK,
    ),
    _mutant(
        "choked-for-ever",
        None,
        "what was refused for too much is asked again after an answer or a beat",
        "understudy_broker.link.session.LinkSession.received",
        drop("self._choked = False"),
        _LINK,
    ),
    _mutant(
        "refused-is-dropped",
        None,
        "a request that was refused for too much is not lost",
        "understudy_broker.link.session.LinkSession._refused",
        drop("self._hold(refused.corr, opened)"),
        _LINK,
    ),
    _mutant(
        "brokers-bound-ignored",
        None,
        "a peer has no more unanswered than the broker allows",
        "understudy_broker.link.session.LinkSession._release_held",
        swap("self._inflight_max - self._inflight", "self.backlog_max"),
        _LINK,
    ),
)

_LOOKING: Final = (
    _mutant(
        "looks-for-ever",
        None,
        "who has looked in vain sleeps, until a wait was short again",
        "understudy_broker.transport.busy_poll.BusyPoll.look",
        drop("self.pays = False"),
        f"{_BUSY}::test_it_gives_up_after_its_time_and_then_sleeps",
    ),
    _mutant(
        "looks-past-its-time",
        None,
        "a look ends with the pause",
        "understudy_broker.transport.polling.BusyPoll.poll",
        swap("min(self._limit_s, timeout_s)", "self._limit_s"),
        f"{_BUSY}::test_it_gives_up_after_its_time_and_then_sleeps",
    ),
    _mutant(
        "looks-whatever-the-wait",
        None,
        "only a wait that was short makes a look worth it",
        "understudy_broker.transport.polling.BusyPoll.record_sleep",
        swap("seconds < SHORT_WAIT_S and self._limit_s > 0", "self._limit_s > 0"),
        f"{_BUSY}::test_it_looks_only_after_a_short_wait",
    ),
    _mutant(
        "looks-on-one-processor",
        None,
        "on one processor a look keeps those from running that are waited for",
        "understudy_broker.transport.polling.BusyPoll.__init__",
        swap("limit_s if available_processors() > 1 else 0.0", "limit_s"),
        f"{_BUSY}::test_never",
    ),
    _mutant(
        "gives-no-way",
        None,
        "who looks lets others have the processor",
        "understudy_broker.transport.busy_poll.BusyPoll.look",
        drop("_give_way()"),
        f"{_BUSY}::test_it_gives_way_between_two_looks",
    ),
    _mutant(
        "never-learns-to-look",
        None,
        "the socket says how long it slept, or no look is ever worth it",
        "understudy_broker.transport.socket.TrioSocket._pause",
        drop("self._busy_poll.record_sleep(now - began)"),
        f"{_SOCKETS}::test_a_look_before_sleeping_loses_nothing",
    ),
    _mutant(
        "others-starve-while-it-looks",
        None,
        "other tasks have their turn, also while looking finds one message after the other",
        "understudy_broker.transport.socket.TrioSocket._pause",
        swap("began - self._yielded_at > _OTHER_TASKS_WAIT_S", "began < self._yielded_at"),
        f"{_SOCKETS}::test_other_tasks_have_their_turn_while_looking_finds_messages",
    ),
    _mutant(
        "look-setting-not-passed-on",
        None,
        "how long the broker looks is a setting",
        "understudy_broker.server.settings.BrokerSettings.broker_config",
        swap(
            "self.deaths_max, busy_poll_us=self.busy_poll_us, peers_max",
            "self.deaths_max, peers_max",
        ),
        f"{_SOCKETS}::test_how_long_to_look_is_a_setting_of_the_broker",
    ),
    _mutant(
        "look-setting-ignored",
        None,
        "how long the broker looks is a setting",
        "understudy_broker.server.server._Shell.__init__",
        swap("TrioSocket(router, config.busy_poll_us / 1e6)", "TrioSocket(router)"),
        f"{_SOCKETS}::test_how_long_to_look_is_a_setting_of_the_broker",
    ),
)

_LISTENING: Final = (
    _mutant(
        "ear-not-unmuted",
        None,
        "who has listened lets the loop hear again",
        "understudy_broker.transport.polling.PollHandoff.hand_back",
        drop("self._epoll.modify(self._socket_fd, select.EPOLLIN)"),
        f"{_LISTENING_TESTS}::test_nothing_came_or_it_was_interrupted",
    ),
    _mutant(
        "loop-not-muted",
        None,
        "while another thread listens, the loop sleeps on",
        "understudy_broker.transport.polling.PollHandoff.take_over",
        drop("self._epoll.modify(self._socket_fd, 0)"),
        f"{_LISTENING_TESTS}::test_who_listens_takes_in_what_comes_while_the_loop_sleeps",
    ),
    _mutant(
        "interruption-not-consumed",
        None,
        "an interruption is for one wait, not for all that come after it",
        "understudy_broker.transport.polling.PollHandoff.poll",
        drop("os.eventfd_read(self._interruption_fd)"),
        f"{_LISTENING_TESTS}::test_an_interruption_is_for_one_wait",
    ),
    _mutant(
        "ear-closed-under-who-listens",
        None,
        "descriptors are kept until nobody waits for them: their numbers are given to others",
        "understudy_broker.transport.poll_handoff.PollHandoff.close",
        swap("not self._listening", "self._closed"),
        f"{_LISTENING_TESTS}::test_a_closed_ear_touches_nothing",
    ),
    _mutant(
        "ear-not-given-back",
        None,
        "who listened to a connection that was closed meanwhile gives its descriptors back",
        "understudy_broker.transport.poll_handoff.PollHandoff.end",
        drop("self._release()"),
        f"{_LISTENING_TESTS}::test_a_closed_ear_touches_nothing",
    ),
    _mutant(
        "interrupts-a-strangers-descriptor",
        None,
        "a closed ear is touched no more",
        "understudy_broker.transport.polling.PollHandoff.interrupt",
        swap("not self._closed", "self._lock"),
        f"{_LISTENING_TESTS}::test_a_closed_ear_touches_nothing",
    ),
    _mutant(
        "closed-and-not-interrupted",
        None,
        "who listens to a connection that is closed returns at once",
        "understudy_broker.transport.polling.PollHandoff.close",
        drop("self.interrupt()"),
        f"{_LISTENING_TESTS}::test_a_closed_ear_touches_nothing",
    ),
    _mutant(
        "no-ear-no-link",
        None,
        "where descriptors have run out, the loop hears everything",
        "understudy_broker.transport.poll_handoff.poll_handoff_of",
        swap("OSError", "ValueError"),
        f"{_LISTENING_TESTS}::test_without_what_it_takes_the_loop_hears_everything",
    ),
    _mutant(
        "heard-and-not-said",
        None,
        "who has heard something sees what is submitted from there on",
        "understudy_broker.link.connection.LinkConnection.listen",
        drop("on_heard()"),
        f"{_LISTENING_TESTS}::test_nothing_came_or_it_was_interrupted",
    ),
    _mutant(
        "turn-kept-after-an-error",
        None,
        "the loop has its turn back, whatever became of the messages",
        "understudy_broker.link.connection.LinkConnection.listen",
        swap(
            "    return self._take_here(socket)\nfinally:\n    turn.give_back()",
            "    taken = self._take_here(socket)\n"
            "    turn.give_back()\n"
            "    return taken\n"
            "finally:\n"
            "    pass",
        ),
        f"{_LISTENING_TESTS}::test_an_error_is_raised_where_it_was_heard_and_the_loop_goes_on",
    ),
    _mutant(
        "old-connection-listened-to",
        None,
        "what was heard on one connection is not looked for on the next",
        "understudy_broker.link.connection.LinkConnection._receive_with_lock",
        swap(
            "self.socket is not socket or not self.session.connected or self._leaving",
            "not self.connected or self._leaving",
        ),
        f"{_LISTENING_TESTS}::test_an_old_connection_is_left_alone",
    ),
    _mutant(
        "work-begun-during-the-goodbye",
        None,
        "a node that has stopped begins nothing any more",
        "understudy_broker.link.connection.LinkConnection._receive_with_lock",
        swap("self.session.connected or self._leaving", "self.connected"),
        f"{_LISTENING_TESTS}::test_what_comes_during_the_goodbye_is_for_nobody",
    ),
    _mutant(
        "leaves-without-goodbye",
        None,
        "who leaves in order says so: what it holds goes to others at once",
        "understudy_broker.link.connection.LinkConnection._connect_once",
        swap("except* trio.Cancelled", "except trio.Cancelled"),
        f"{_LISTENING_TESTS}::test_what_comes_during_the_goodbye_is_for_nobody",
    ),
    _mutant(
        "rest-left-lying",
        None,
        "what the bound leaves is for the loop, though its signal is gone",
        "understudy_broker.link.connection.LinkConnection._receive_with_lock",
        swap("(_now_ms()) or socket.has_unread", "(_now_ms())"),
        f"{_LISTENING_TESTS}::test_more_than_is_taken_at_once_is_taken_all",
    ),
    _mutant(
        "broken-and-the-loop-not-told",
        None,
        "the loop gives up a connection of which another thread heard that it is over",
        "understudy_broker.link.connection.LinkConnection._receive_with_lock",
        swap("session.is_broken(_now_ms()) or socket.has_unread", "socket.has_unread"),
        f"{_LISTENING_TESTS}::test_a_broker_that_says_bye_to_who_listens_gets_a_new_hello",
    ),
    _mutant(
        "refused-and-the-loop-not-told",
        None,
        "the loop ends a link of which another thread heard that it is refused",
        "understudy_broker.link.connection.LinkConnection._take_here",
        swap("self._core.failure is not None or self._core.broken", "self._core.broken"),
        f"{_LISTENING_TESTS}::test_a_refusal_for_good_ends_the_link_whoever_hears_it",
    ),
    _mutant(
        "told-on-a-strange-thread",
        None,
        "a trio primitive is used on its loop's own thread",
        "understudy_broker.link.connection.LinkConnection._on_loop",
        swap("threading.get_ident() == self._thread", "self._thread"),
        f"{_LISTENING_TESTS}::test_who_waits_for_a_change_hears_of_it",
        f"{_LISTENING_TESTS}::test_who_has_asked_gets_an_answer_that_another_thread_took_in",
    ),
)

MUTANTS: Final[tuple[Mutant, ...]] = (*_LINKS, *_LOOKING, *_LISTENING)
