"""A link session: no request is lost, and none is answered twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.broker.core.rig import hello
from tests.unit.broker.link.peer import Peer, welcome
from understudy_broker.errors import (
    HelloRefusedError,
    LinkFullError,
    NameInUseError,
    ProtocolMismatchError,
)
from understudy_broker.link.session import Answer
from understudy_broker.protocol.frames import FrameLimits, FrameSequence, decode_to_broker, encode
from understudy_broker.protocol.messages import (
    Beat,
    Bye,
    Credit,
    Delegated,
    Refused,
    Request,
    Response,
    Settled,
)
from understudy_store.commands import PromiseGet, PromiseSettle, Reply
from understudy_store.records import Value


def test_requests_wait_for_the_welcome() -> None:
    peer = Peer()
    first = peer.request()
    assert peer.corrs() == []
    peer.connect()
    assert peer.corrs() == [first]
    assert peer.corrs() == []


def test_requests_made_together_travel_in_one_frame() -> None:
    peer = Peer()
    peer.connect(inflight_max=5_000)
    for _ in range(1_000):
        peer.request()
    assert len(peer.session.take_frames(0)) == 1


def test_unanswered_requests_are_sent_again_in_their_order() -> None:
    peer = Peer()
    peer.connect()
    corrs = [peer.request() for _ in range(5)]
    assert peer.corrs() == corrs
    peer.answer(corrs[1])
    assert peer.session.close("test") is True
    later = peer.request()
    peer.connect()
    assert peer.corrs() == [corrs[0], *corrs[2:], later]
    # One of them was answered before; its second answer is ignored.
    peer.answer(*corrs, later)
    assert sorted(peer.answers) == [*corrs, later]


def test_requests_past_the_brokers_bound_are_held() -> None:
    peer = Peer()
    peer.connect(inflight_max=2)
    corrs = [peer.request() for _ in range(5)]
    assert peer.corrs() == corrs[:2]
    peer.answer(corrs[0])
    assert peer.corrs() == corrs[2:3]
    peer.answer(corrs[1], corrs[2])
    assert peer.corrs() == corrs[3:]


def test_a_request_refused_with_429_is_sent_again() -> None:
    peer = Peer()
    peer.connect()
    corr = peer.request()
    assert peer.corrs() == [corr]
    peer.session.receive([Refused(429, "too much", corr=corr)], 0)
    assert peer.answers == {}
    assert peer.corrs() == [], "at once it would be refused again"
    peer.session.receive([Beat()], 0)
    assert peer.corrs() == [corr]
    peer.session.receive([Refused(413, "too large", corr=corr)], 0)
    assert isinstance(peer.answers[corr], Refused)


def test_a_request_waits_for_as_long_as_the_broker_says() -> None:
    peer = Peer()
    peer.connect()
    corr = peer.request()
    assert peer.corrs() == [corr]
    wait = Refused(429, "over its limit", corr=corr, retry_after_ms=500)
    assert peer.session.receive([wait, wait], 100) == [wait], "the peer hears of each wait once"
    later = peer.request()
    peer.session.receive([Beat()], 300)
    assert peer.corrs() == []
    assert peer.session.next_due() == 600
    frames = peer.session.take_frames(600)
    messages = [each for frame in frames for each in decode_to_broker(frame, FrameLimits())]
    assert [each.corr for each in messages if isinstance(each, Request)] == [corr, later]
    assert peer.answers == {}


def test_what_an_edge_asks_for_another_does_not_hold_up_the_rest() -> None:
    peer = Peer()
    peer.connect()
    answers: list[Answer] = []
    corr = peer.session.request(Delegated("team-b", PromiseGet("p")), answers.append)
    peer.corrs()
    peer.session.receive([Refused(429, "over", corr=corr, retry_after_ms=500)], 0)
    assert [each.status for each in answers if isinstance(each, Refused)] == [429]
    other = peer.request()
    assert peer.corrs() == [other]


def test_a_hello_that_is_refused_for_now_is_said_again_on_another_connection() -> None:
    peer = Peer()
    peer.session.open(hello("a"), 0)
    assert not peer.session.is_broken(0)
    peer.session.receive([Refused(429, "no room")], 0)
    assert peer.session.is_broken(0)
    assert peer.session.failure is None
    assert peer.session.last_error == "the broker refuses this peer for now: no room"
    peer.connect()
    assert not peer.session.is_broken(0)
    # A frame that is refused later ends nothing.
    peer.session.receive([Refused(413, "too large")], 0)
    assert not peer.session.is_broken(0)


def test_refused_requests_keep_their_order_and_are_sent_once() -> None:
    peer = Peer()
    peer.connect(inflight_max=3)
    first, second, third = peer.request(), peer.request(), peer.request()
    assert peer.corrs() == [first, second, third]
    too_much = [Refused(429, "too much", corr=corr) for corr in (second, third, second, third)]
    peer.session.receive(too_much, 0)
    assert peer.corrs() == []
    peer.answer(first)
    assert peer.corrs() == [second, third]
    assert peer.session.statistics().held == 0


def test_the_backlog_is_bounded() -> None:
    peer = Peer(backlog_max=2)
    peer.request()
    peer.request()
    with pytest.raises(LinkFullError):
        peer.request()


def test_the_answer_of_a_forgotten_request_is_ignored() -> None:
    peer = Peer()
    peer.connect()
    corr = peer.request()
    peer.session.forget(corr)
    peer.answer(corr)
    assert peer.answers == {}
    assert peer.session.unanswered == 0


def test_a_message_that_is_no_request_is_dropped_while_not_connected() -> None:
    peer = Peer()
    assert peer.session.send(Credit(3)) is False
    peer.connect()
    assert peer.session.send(Credit(4)) is True
    assert peer.sent() == [Credit(4)]


def test_a_request_larger_than_a_frame_is_refused_locally() -> None:
    peer = Peer()
    peer.session.open(hello("a"), 0)
    peer.session.receive([welcome(frame_bytes_max=1_000)], 0)
    large = peer.session.request(
        PromiseSettle("p", "resolved", Value({}, b"x" * 2_000)), peer.on_reply
    )
    small = peer.request()
    assert peer.corrs() == [small]
    answer = peer.answers[large]
    assert isinstance(answer, Refused)
    assert answer.status == 413


def test_only_the_request_that_cannot_be_encoded_is_refused() -> None:
    peer = Peer()
    peer.connect()
    first, bad, last = peer.request("a"), peer.request("\ud800"), peer.request("b")
    assert peer.corrs() == [first, last]
    answer = peer.answers.pop(bad)
    assert isinstance(answer, Refused)
    assert answer.status == 400
    assert "surrogates" in answer.error
    peer.answer(first, last)
    assert peer.session.unanswered == 0


@pytest.mark.parametrize(
    ("status", "error"),
    [(409, NameInUseError), (426, ProtocolMismatchError), (400, HelloRefusedError)],
)
def test_a_fatal_refusal_ends_the_link(status: int, error: type[Exception]) -> None:
    peer = Peer()
    peer.session.open(hello("a"), 0)
    peer.session.receive([Refused(status, "why", fatal=True)], 0)
    assert isinstance(peer.session.failure, error)
    assert "why" in str(peer.session.failure)


@pytest.mark.parametrize("message", [Bye(), Refused(412, "say hello")])
def test_a_broker_that_left_or_forgot_the_peer_gets_a_new_hello(message: Bye | Refused) -> None:
    peer = Peer()
    peer.connect()
    assert peer.session.receive([message], 0) == []
    assert peer.session.is_broken(0)
    peer.session.close("x")
    peer.connect()
    assert not peer.session.is_broken(0)


def test_all_other_messages_are_returned_in_order() -> None:
    peer = Peer()
    peer.connect()
    settled = Settled([])
    corr = peer.request()
    assert peer.session.receive([settled, Response(corr, Reply(200)), settled], 0) == [settled] * 2


@given(
    st.lists(st.sampled_from(["request", "flush", "answer", "lose", "connect", "429"]), max_size=60)
)
def test_each_request_is_answered_once_whatever_happens(script: list[str]) -> None:
    peer = Peer()
    requested: list[int] = []
    wire: list[int] = []
    for action in script:
        if action == "request":
            requested.append(peer.request())
        elif action == "connect" and not peer.session.connected:
            peer.connect(inflight_max=3)
        elif action == "lose":
            peer.session.close("x")
            wire.clear()
        elif action == "flush":
            wire += peer.corrs()
        elif action == "answer" and wire:
            peer.answer(wire.pop(0))
        elif action == "429" and wire:
            peer.session.receive([Refused(429, "later", corr=wire.pop())], 0)
        assert len(wire) <= 3
        assert len(set(wire)) == len(wire)
    peer.session.close("x")
    peer.connect(inflight_max=3)
    for _ in range(len(requested) + 1):
        peer.answer(*peer.corrs())
    assert sorted(peer.answers) == requested
    assert peer.session.unanswered == 0


def test_the_round_trip_of_the_welcome_is_measured() -> None:
    peer = Peer()
    peer.session.open(hello("a"), 1_000)
    peer.session.receive([welcome()], 1_007)
    assert peer.session.round_trip_ms == 7


def test_a_missing_frame_of_the_broker_ends_the_connection() -> None:
    peer = Peer()
    peer.connect()
    broker = FrameSequence()
    first, _missing, third = (broker.stamp(encode([Beat()])) for _ in range(3))
    assert peer.session.accepts(first)
    assert not peer.session.accepts(first), "it came before"
    assert not peer.session.is_broken(0)
    assert not peer.session.accepts(third)
    assert peer.session.is_broken(0)
    peer.connect()
    assert not peer.session.is_broken(0)
    assert peer.session.accepts(first), "each connection counts from 1"


def test_requests_that_wait_are_amended_before_they_are_sent() -> None:
    peer = Peer()
    first = peer.request("early")
    peer.session.open(hello("a"), 0)
    peer.session.receive([welcome()], 0)
    peer.session.send(Credit(3))
    peer.session.amend(lambda command: PromiseGet("amended"))
    later = peer.request("late")
    sent = [Request(first, PromiseGet("amended")), Credit(3), Request(later, PromiseGet("late"))]
    assert peer.sent() == sent
    # So they are if they are sent again.
    peer.connect()
    assert peer.sent() == [sent[0], sent[2]]
