"""The session logic of a link: nothing asked is lost, nothing is answered twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.broker.core.rig import hello
from understudy_broker.errors import (
    HelloRefusedError,
    LinkFullError,
    NameInUseError,
    ProtocolMismatchError,
)
from understudy_broker.link.session import Answer, LinkSession
from understudy_broker.protocol.frames import FrameLimits, FrameSequence, decode_to_broker, encode
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    Beat,
    Bye,
    Credit,
    Refused,
    Request,
    Response,
    Settled,
    ToBroker,
    Welcome,
)
from understudy_store.commands import PromiseGet, PromiseSettle, Reply
from understudy_store.records import Value


def welcome(inflight_max: int = 100, frame_bytes_max: int = 1 << 20) -> Welcome:
    return Welcome(
        PROTOCOL_VERSION, "b", "a#1", 10_000, 2_500, inflight_max, frame_bytes_max, 1 << 19
    )


class Asker:
    """A link session, the answers it got, and what it has put on the wire."""

    def __init__(self, backlog_max: int = 1_000, busy: bool = True) -> None:
        self.busy = busy
        self.session = LinkSession(backlog_max=backlog_max, is_busy=lambda: self.busy)
        self.answers: dict[int, Answer] = {}

    def ask(self, id_: str = "p") -> int:
        return self.session.request(PromiseGet(id_), self.on_reply)

    def on_reply(self, answer: Answer) -> None:
        assert answer.corr is not None
        assert answer.corr not in self.answers, "answered twice"
        self.answers[answer.corr] = answer

    def connect(self, inflight_max: int = 100, *, at: int = 0) -> None:
        self.session.open(hello("a"), at)
        self.session.receive([welcome(inflight_max)], at)

    def sent(self, now: int = 0) -> list[ToBroker]:
        frames = self.session.take_frames(now)
        return [m for frame in frames for m in decode_to_broker(frame, FrameLimits())]

    def corrs(self) -> list[int]:
        return [message.corr for message in self.sent() if isinstance(message, Request)]

    def answer(self, *corrs: int) -> None:
        self.session.receive([Response(corr, Reply(200)) for corr in corrs], 0)


def test_before_the_welcome_requests_wait() -> None:
    asker = Asker()
    first = asker.ask()
    assert asker.corrs() == []
    asker.connect()
    assert asker.corrs() == [first]
    assert asker.corrs() == []


def test_a_turns_requests_are_one_frame() -> None:
    asker = Asker()
    asker.connect(inflight_max=5_000)
    for _ in range(1_000):
        asker.ask()
    assert len(asker.session.take_frames(0)) == 1


def test_unanswered_requests_are_sent_again_in_their_order() -> None:
    asker = Asker()
    asker.connect()
    corrs = [asker.ask() for _ in range(5)]
    assert asker.corrs() == corrs
    asker.answer(corrs[1])
    assert asker.session.close("test") is True
    later = asker.ask()
    asker.connect()
    assert asker.corrs() == [corrs[0], *corrs[2:], later]
    asker.answer(*corrs, later)  # the one answered before is answered again: not told twice
    assert sorted(asker.answers) == [*corrs, later]


def test_the_brokers_bound_is_respected_by_holding_back() -> None:
    asker = Asker()
    asker.connect(inflight_max=2)
    corrs = [asker.ask() for _ in range(5)]
    assert asker.corrs() == corrs[:2]
    asker.answer(corrs[0])
    assert asker.corrs() == corrs[2:3]
    asker.answer(corrs[1], corrs[2])
    assert asker.corrs() == corrs[3:]


def test_a_refused_request_is_asked_again_if_there_was_too_much() -> None:
    asker = Asker()
    asker.connect()
    corr = asker.ask()
    assert asker.corrs() == [corr]
    asker.session.receive([Refused(429, "too much", corr=corr)], 0)
    assert asker.answers == {}
    assert asker.corrs() == [], "at once it would only be refused again"
    asker.session.receive([Beat()], 0)
    assert asker.corrs() == [corr]
    asker.session.receive([Refused(413, "too large", corr=corr)], 0)
    assert isinstance(asker.answers[corr], Refused)


def test_refused_requests_keep_their_order_and_go_out_once() -> None:
    asker = Asker()
    asker.connect(inflight_max=3)
    first, second, third = asker.ask(), asker.ask(), asker.ask()
    assert asker.corrs() == [first, second, third]
    too_much = [Refused(429, "too much", corr=corr) for corr in (second, third, second, third)]
    asker.session.receive(too_much, 0)
    assert asker.corrs() == []
    asker.answer(first)
    assert asker.corrs() == [second, third]
    assert asker.session.statistics().held == 0


def test_the_backlog_is_bounded() -> None:
    asker = Asker(backlog_max=2)
    asker.ask()
    asker.ask()
    with pytest.raises(LinkFullError):
        asker.ask()


def test_forgotten_requests_call_nobody_back() -> None:
    asker = Asker()
    asker.connect()
    corr = asker.ask()
    asker.session.forget(corr)
    asker.answer(corr)
    assert asker.answers == {}
    assert asker.session.unanswered == 0


def test_what_is_no_request_is_dropped_while_not_connected() -> None:
    asker = Asker()
    assert asker.session.send(Credit(3)) is False
    asker.connect()
    assert asker.session.send(Credit(4)) is True
    assert asker.sent() == [Credit(4)]


def test_a_request_larger_than_a_frame_is_refused_here() -> None:
    asker = Asker()
    asker.session.open(hello("a"), 0)
    asker.session.receive([welcome(frame_bytes_max=1_000)], 0)
    large = asker.session.request(
        PromiseSettle("p", "resolved", Value({}, b"x" * 2_000)), asker.on_reply
    )
    small = asker.ask()
    assert asker.corrs() == [small]
    answer = asker.answers[large]
    assert isinstance(answer, Refused)
    assert answer.status == 413


def test_a_request_that_cannot_be_encoded_is_refused_here_and_alone() -> None:
    asker = Asker()
    asker.connect()
    first, bad, last = asker.ask("a"), asker.ask("\ud800"), asker.ask("b")
    assert asker.corrs() == [first, last]
    answer = asker.answers.pop(bad)
    assert isinstance(answer, Refused)
    assert answer.status == 400
    assert "surrogates" in answer.error
    asker.answer(first, last)
    assert asker.session.unanswered == 0


def test_beats_and_silence() -> None:
    asker = Asker()
    asker.connect()
    assert asker.sent(2_499) == []
    assert asker.sent(2_500) == [Beat()]
    assert asker.sent(2_600) == []
    assert not asker.session.is_broken(7_499)
    assert asker.session.is_broken(7_500)
    asker.session.receive([Beat()], 7_000)
    assert not asker.session.is_broken(7_500)
    assert asker.session.next_due() == 5_000


def idle() -> Asker:
    """Connected at 0, holds nothing, waits for nothing, and has found that at 2,500."""
    asker = Asker(busy=False)
    asker.connect()
    assert asker.session.next_due() == 2_500
    assert asker.sent(2_500) == []
    return asker


def test_with_nothing_at_stake_two_beats_of_three_are_left_out() -> None:
    asker = idle()
    for beat_at in (7_500, 15_000, 22_500):
        assert asker.session.next_due() == beat_at
        assert asker.sent(beat_at - 1) == []
        assert not asker.session.is_broken(beat_at)
        assert asker.sent(beat_at) == [Beat()]
        asker.session.receive([Beat()], beat_at + 10)
        assert asker.sent(beat_at + 10) == []
        assert asker.session.next_due() == beat_at + 2_500
        assert asker.sent(beat_at + 2_500) == []


@pytest.mark.parametrize("connected_at", [0, 1, 119, 249, 250, 2_617])
def test_idle_ones_beat_at_moments_that_all_of_one_machine_share(connected_at: int) -> None:
    asker = Asker(busy=False)
    asker.connect(at=connected_at)
    assert asker.sent(connected_at + 2_500) == []
    beat_at = asker.session.next_due()
    assert beat_at % 250 == 0
    assert connected_at + 7_250 < beat_at <= connected_at + 7_500
    assert asker.sent(beat_at - 1) == []
    assert asker.sent(beat_at) == [Beat()]
    asker.session.receive([Beat()], beat_at)
    assert asker.sent(beat_at + 2_500) == []
    assert asker.session.next_due() == beat_at + 7_500


def test_one_that_was_idle_beats_at_once_when_it_is_handed_something() -> None:
    asker = idle()
    asker.busy = True
    assert asker.sent(6_000) == [Beat()]
    assert asker.session.next_due() == 8_500


def test_one_that_was_idle_beats_with_its_next_request_and_while_it_is_unanswered() -> None:
    asker = idle()
    corr = asker.ask()
    request, beat = asker.sent(6_000)
    assert (type(request), beat) == (Request, Beat())
    asker.session.receive([Beat()], 6_000)
    assert asker.sent(8_500) == [Beat()]
    asker.session.receive([Response(corr, Reply(200))], 9_000)
    assert asker.sent(11_000) == []
    assert asker.session.next_due() == 8_500 + 7_500


def test_an_idle_one_that_gets_no_answer_beats_as_often_as_any_and_gives_up() -> None:
    asker = idle()
    assert asker.sent(7_500) == [Beat()]
    assert asker.session.next_due() == 10_000
    assert asker.sent(10_000) == [Beat()]
    assert asker.session.next_due() == 12_500
    assert not asker.session.is_broken(12_499)
    assert asker.session.is_broken(12_500)


def test_one_that_asks_after_a_rest_gives_up_two_beats_later() -> None:
    asker = idle()
    asker.ask()
    assert Beat() in asker.sent(7_000)
    assert not asker.session.is_broken(11_999)
    assert asker.session.is_broken(12_000)


@pytest.mark.parametrize(
    ("lease_ttl_ms", "beat_ms", "idle_beat_ms"),
    [(10_000, 2_500, 7_500), (10_000, 200, 600), (10_000, 4_000, 7_500), (10_000, 9_000, 9_000)],
)
def test_a_rest_ends_well_before_a_lease_would(
    lease_ttl_ms: int, beat_ms: int, idle_beat_ms: int
) -> None:
    told = Welcome(PROTOCOL_VERSION, "b", "a#1", lease_ttl_ms, beat_ms, 1, 1, 1)
    assert told.idle_beat_ms == idle_beat_ms


@pytest.mark.parametrize(
    ("status", "error"),
    [(409, NameInUseError), (426, ProtocolMismatchError), (400, HelloRefusedError)],
)
def test_a_fatal_refusal_ends_the_link(status: int, error: type[Exception]) -> None:
    asker = Asker()
    asker.session.open(hello("a"), 0)
    asker.session.receive([Refused(status, "why", fatal=True)], 0)
    assert isinstance(asker.session.failure, error)
    assert "why" in str(asker.session.failure)


@pytest.mark.parametrize("message", [Bye(), Refused(412, "say hello")])
def test_a_broker_that_leaves_or_forgot_us_is_greeted_anew(message: Bye | Refused) -> None:
    asker = Asker()
    asker.connect()
    assert asker.session.receive([message], 0) == []
    assert asker.session.is_broken(0)
    asker.session.close("x")
    asker.connect()
    assert not asker.session.is_broken(0)


def test_everything_else_is_handed_on_in_order() -> None:
    asker = Asker()
    asker.connect()
    settled = Settled([])
    corr = asker.ask()
    assert asker.session.receive([settled, Response(corr, Reply(200)), settled], 0) == [settled] * 2


@given(st.lists(st.sampled_from(["ask", "flush", "answer", "lose", "connect", "429"]), max_size=60))
def test_whatever_happens_everything_is_answered_once(script: list[str]) -> None:
    asker = Asker()
    asked: list[int] = []
    wire: list[int] = []
    for action in script:
        if action == "ask":
            asked.append(asker.ask())
        elif action == "connect" and not asker.session.connected:
            asker.connect(inflight_max=3)
        elif action == "lose":
            asker.session.close("x")
            wire.clear()
        elif action == "flush":
            wire += asker.corrs()
        elif action == "answer" and wire:
            asker.answer(wire.pop(0))
        elif action == "429" and wire:
            asker.session.receive([Refused(429, "later", corr=wire.pop())], 0)
        assert len(wire) <= 3
        assert len(set(wire)) == len(wire)
    asker.session.close("x")
    asker.connect(inflight_max=3)
    for _ in range(len(asked) + 1):
        asker.answer(*asker.corrs())
    assert sorted(asker.answers) == asked
    assert asker.session.unanswered == 0


def test_the_round_trip_of_the_welcome_is_measured() -> None:
    asker = Asker()
    asker.session.open(hello("a"), 1_000)
    asker.session.receive([welcome()], 1_007)
    assert asker.session.round_trip_ms == 7


def test_a_missing_frame_of_the_broker_ends_the_connection() -> None:
    asker = Asker()
    asker.connect()
    broker = FrameSequence()
    first, _missing, third = (broker.stamp(encode([Beat()])) for _ in range(3))
    assert asker.session.accepts(first)
    assert not asker.session.accepts(first), "it came before"
    assert not asker.session.is_broken(0)
    assert not asker.session.accepts(third)
    assert asker.session.is_broken(0)
    asker.connect()
    assert not asker.session.is_broken(0)
    assert asker.session.accepts(first), "each connection counts anew"
