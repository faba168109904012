"""Answers to ZeroMQ's questions about connections."""

from __future__ import annotations

import pytest
from zmq.utils import z85

from understudy_broker.keys.rights import Holder
from understudy_broker.transport.zap import Refusal, answer, key_of, user_id

KEY = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
RAW = z85.decode(KEY)
QUESTION = [b"1.0", b"7", b"understudy", b"10.0.0.9", b"", b"CURVE", RAW]


def find(key: str) -> Holder | str:
    return Holder("team-a/node-1", KEY) if key == KEY else "its key is unknown"


def test_a_known_key_is_let_in_under_its_identity() -> None:
    reply, refusal = answer(QUESTION, find, "understudy")
    assert refusal is None
    assert reply == [b"1.0", b"7", b"200", b"", f"{KEY}team-a/node-1".encode(), b""]
    user = reply[4].decode()
    assert (key_of(user), user) == (KEY, user_id(Holder("team-a/node-1", KEY)))


def changed(at: int, part: bytes) -> list[bytes]:
    return [*QUESTION[:at], part, *QUESTION[at + 1 :]]


@pytest.mark.parametrize(
    ("question", "refusal"),
    [
        (changed(6, bytes(32)), Refusal("its key is unknown", "10.0.0.9", "0" * 40)),
        (changed(6, RAW[:-1]), Refusal("it asked for something else", "10.0.0.9")),
        (changed(2, b"other"), Refusal("it asked for something else", "10.0.0.9")),
        (changed(5, b"NULL"), Refusal("it has no key")),
        (changed(5, b"PLAIN"), Refusal("it has no key")),
        (changed(0, b"2.0"), Refusal("it has no key")),
        (QUESTION[:6], Refusal("it has no key")),
        ([*QUESTION, b""], Refusal("it has no key")),
        ([], Refusal("it has no key")),
    ],
)
def test_everything_else_is_refused(question: list[bytes], refusal: Refusal) -> None:
    reply, said = answer(question, find, "understudy")
    assert said == refusal
    request_id = question[1] if question else b""
    assert reply == [b"1.0", request_id, b"400", b"refused", b"", b""]
