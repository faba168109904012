"""A session with one of several brokers: requests that move, maps, and welcomes of others."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.broker.core.rig import hello
from tests.unit.broker.link.peer import welcome
from understudy_broker.link.session import Answer, LinkSession, OnReply
from understudy_broker.protocol.frames import FrameLimits, decode_to_broker
from understudy_broker.protocol.messages import (
    AnyCommand,
    Refused,
    Request,
    Response,
    SlotMap,
    Slots,
)
from understudy_broker.protocol.placement import shared_out
from understudy_store.commands import PromiseGet, Reply

BROKERS = (("a", "tcp://a:5577"), ("b", "tcp://b:5577"))
#: the address would end the whole peer
NONSENSE = SlotMap(7, (*BROKERS, ("c", "nowhere")), ((255, 2),))
MOVED = Reply(421, "the slot is another broker's")


class One:
    """A session with one broker, and what it passes on."""

    def __init__(self, wrong: str | None = None) -> None:
        self.moved: list[AnyCommand] = []
        self.told: list[object] = []
        self.session = LinkSession(
            check_welcome=lambda _: wrong, on_moved=self._on_moved, on_slots=self.told.append
        )
        self.answers: list[Answer] = []

    def _on_moved(self, command: AnyCommand, on_reply: OnReply) -> None:
        self.moved.append(command)
        self.told.append(command)
        assert on_reply == self.answers.append

    def connect(self, inflight_max: int = 100) -> None:
        self.session.open(hello("a"), 0)
        self.session.receive([welcome(inflight_max)], 0)

    def request(self, *ids: str) -> list[int]:
        return [self.session.request(PromiseGet(id_), self.answers.append) for id_ in ids]

    def sent(self) -> list[str]:
        frames = self.session.take_frames(0)
        messages = [m for frame in frames for m in decode_to_broker(frame, FrameLimits())]
        commands = [m.command for m in messages if isinstance(m, Request)]
        return [command.id for command in commands if isinstance(command, PromiseGet)]


def is_q(command: AnyCommand) -> bool:
    return isinstance(command, PromiseGet) and command.id.startswith("q")


def test_a_reply_that_the_slot_is_elsewhere_is_no_answer() -> None:
    one = One()
    one.connect()
    [corr] = one.request("p")
    slots = shared_out(BROKERS, version=3)
    one.session.receive([Slots(slots), Response(corr, MOVED)], 0)
    assert one.told == [slots, PromiseGet("p")], "the map comes first"
    assert not one.answers
    assert not one.session.unanswered


def test_without_a_router_it_is_an_answer() -> None:
    session = LinkSession()
    session.open(hello("a"), 0)
    session.receive([welcome()], 0)
    answers: list[Answer] = []
    corr = session.request(PromiseGet("p"), answers.append)
    session.receive([Slots(SlotMap(1, (), ())), Response(corr, MOVED)], 0)
    assert answers == [Response(corr, MOVED)]


def test_requests_are_taken_back_wherever_they_are() -> None:
    one = One()
    one.connect(inflight_max=2)
    # Two are in flight, the others held.
    first, _, third, _ = one.request("p1", "q1", "p2", "q2")
    assert one.sent() == ["p1", "q1"]
    taken = one.session.take_back(is_q)
    assert [command for command, _ in taken] == [PromiseGet("q1"), PromiseGet("q2")]
    assert one.session.unanswered == 2
    assert one.session.statistics().held == 1
    one.session.receive([Response(first, Reply(200))], 0)
    assert one.sent() == ["p2"]
    one.session.receive([Response(third, Reply(200))], 0)
    assert one.session.unanswered == 0
    assert len(one.answers) == 2


def test_a_request_that_is_taken_back_is_sent_and_answered_no_more() -> None:
    one = One()
    one.connect()
    _, corr = one.request("p", "q")
    one.session.take_back(is_q)
    assert one.sent() == ["p"]
    # It may have been performed all the same.
    one.session.receive([Response(corr, Reply(200))], 0)
    assert not one.answers
    one.session.close("cut")
    one.connect()
    assert one.sent() == ["p"]


def test_of_requests_made_before_the_welcome_too() -> None:
    one = One()
    one.request("q", "p", "q")
    assert len(one.session.take_back(is_q)) == 2
    one.connect()
    assert one.sent() == ["p"]


def test_a_broker_that_is_not_meant_gets_nothing() -> None:
    one = One("the broker at tcp://x is one of another deployment: check the address")
    one.request("p")
    one.session.open(hello("a"), 0)
    assert one.session.receive([welcome()], 0) == []
    assert not one.session.connected
    assert one.session.is_broken(0)
    assert one.session.last_error is not None
    assert "another deployment" in one.session.last_error
    assert one.sent() == []
    assert one.session.unanswered == 1


def test_a_map_that_cannot_be_is_not_passed_on_and_the_connection_is_given_up() -> None:
    one = One()
    one.connect()
    one.request("p")
    one.session.receive([Slots(NONSENSE)], 0)
    assert one.told == []
    assert one.session.is_broken(0)
    assert one.session.last_error is not None
    assert "'c' is 'nowhere'" in one.session.last_error
    assert "install the same version" in one.session.last_error
    assert one.session.unanswered == 1, "what was asked is asked again"


def test_a_welcome_with_a_map_that_cannot_be_is_none() -> None:
    one = One()
    one.session.open(hello("a"), 0)
    assert one.session.receive([msgspec.structs.replace(welcome(), slots=NONSENSE)], 0) == []
    assert not one.session.connected
    assert one.session.is_broken(0)
    assert "a map of slots that cannot be" in str(one.session.last_error)
    one.session.close("cut")
    one.connect()
    assert one.session.connected


@pytest.mark.parametrize("status", [421, 429])
def test_a_refusal_of_the_frame_moves_nothing(status: int) -> None:
    one = One()
    one.connect()
    [corr] = one.request("p")
    one.session.receive([Refused(status, "no", corr=corr)], 0)
    assert not one.moved
