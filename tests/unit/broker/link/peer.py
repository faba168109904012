"""A peer with a link session, as the tests of sessions and heartbeats use it."""

from __future__ import annotations

from tests.unit.broker.core.rig import hello
from understudy_broker.link.session import Answer, LinkSession
from understudy_broker.protocol.frames import FrameLimits, decode_to_broker
from understudy_broker.protocol.messages import (
    PROTOCOL_VERSION,
    Request,
    Response,
    ToBroker,
    Welcome,
)
from understudy_store.commands import PromiseGet, Reply


def welcome(inflight_max: int = 100, frame_bytes_max: int = 1 << 20) -> Welcome:
    return Welcome(
        PROTOCOL_VERSION, "b", "a#1", 10_000, 2_500, inflight_max, frame_bytes_max, 1 << 19
    )


class Peer:
    """A link session, and the answers that it got."""

    def __init__(self, backlog_max: int = 1_000, busy: bool = True) -> None:
        self.busy = busy
        self.session = LinkSession(backlog_max=backlog_max, is_busy=lambda: self.busy)
        self.answers: dict[int, Answer] = {}

    def request(self, id_: str = "p") -> int:
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
