"""Members of call graphs whose roots are at another broker: they go after those, and not before."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.broker.core.rig import Rig
from tests.unit.broker.core.test_between_slots import SLOTS, A, B
from understudy_broker.core.retention import ANSWERS_MS, FIRST_MS, IDLE_MS
from understudy_broker.core.strays import AFTER_PURGE_MS, UNANSWERED_MAX, WHOLE_MS, Strays
from understudy_broker.protocol.messages import Refused, Response, SlotCommand
from understudy_store.commands import (
    PromiseCreate,
    PromiseGet,
    PromisePurge,
    PromiseSettle,
    Reply,
)
from understudy_store.records import (
    EMPTY,
    TAG_BRANCH,
    TAG_ORIGIN,
    TAG_RETENTION,
    EndedGraph,
    PromiseRecord,
    RetentionRules,
    Value,
)

DAY = 86_400_000
RULES = RetentionRules(default=30 * DAY, idempotency=90 * DAY)
FAR = 2**50


class Pair:
    """Brokers `a` and `b`: what one asks of the other is carried there, unless it is away."""

    def __init__(self, rules: RetentionRules = RULES) -> None:
        self.a = Rig(name="a", slots=SLOTS, retention=rules)
        self.b = Rig(name="b", slots=SLOTS, retention=rules)
        self.asked: list[SlotCommand] = []
        self.lost: list[SlotCommand] = []
        self.is_away = False

    def do(self, rig: Rig, *commands: Any) -> list[int]:
        """Have a client of that moment ask for commands."""
        rig.pass_time(100)
        rig.join(b"c", f"c{rig.now}", kind="client")
        return [rig.reply(b"c", command).status for command in commands]

    def pass_time(self, ms: int, step_ms: int) -> None:
        until = self.a.now + ms
        while self.a.now < until:
            for rig in (self.a, self.b):
                rig.now += step_ms
                rig.turn()
            self.exchange()

    def exchange(self) -> None:
        for rig, other in ((self.a, self.b), (self.b, self.a)):
            for command in rig.core.take_requests(rig.now):
                if isinstance(command, PromiseGet):
                    self.asked.append(command)
                    if self.is_away:
                        self.lost.append(command)
                        continue
                other.join(b"b", f"broker.{other.now}", kind="broker", group="brokers")
                reply = other.reply(b"b", command)
                rig.core.answered(command, Response(0, reply), rig.now)
                rig.turn()

    def later(self, ms: int) -> None:
        """Let a long time pass, and then a while in steps."""
        for rig in (self.a, self.b):
            rig.now += ms
        self.pass_time(5 * IDLE_MS, 1000)


def member(id_: str, **tags: str) -> PromiseCreate:
    return PromiseCreate(id_, FAR, Value({}, b"x"), {TAG_ORIGIN: A, TAG_BRANCH: A, **tags})


def done(id_: str) -> PromiseSettle:
    return PromiseSettle(id_, "resolved")


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.do(pair.a, PromiseCreate(A, FAR))
    pair.do(pair.b, member(B), member(f"{B}.{A}.1"), done(B), done(f"{B}.{A}.1"))
    return pair


def test_members_elsewhere_go_after_their_root(pair: Pair) -> None:
    pair.later(40 * DAY)
    assert pair.asked == [PromiseGet(A)]
    assert pair.do(pair.b, PromiseGet(B), PromiseGet(f"{B}.{A}.1")) == [200, 200]
    pair.do(pair.a, done(A))
    pair.later(10 * DAY)
    assert pair.do(pair.b, PromiseGet(B)) == [200]
    pair.later(21 * DAY)
    assert pair.do(pair.a, PromiseGet(A)) == [410]
    pair.later(WHOLE_MS)
    assert pair.do(pair.b, PromiseGet(B), member(B)) == [410, 410]
    assert pair.b.core.searches.retention.purged == 2
    count = len(pair.asked)
    pair.later(WHOLE_MS)
    assert len(pair.asked) == count, "nothing is asked about what is gone"


def test_a_pending_member_keeps_the_others_at_its_broker(pair: Pair) -> None:
    pair.do(pair.b, member(f"{B}.{A}.2"))
    pair.do(pair.a, done(A))
    pair.later(31 * DAY)
    pair.later(WHOLE_MS)
    assert pair.do(pair.a, PromiseGet(A)) == [410]
    assert pair.do(pair.b, PromiseGet(B)) == [200]
    pair.do(pair.b, done(f"{B}.{A}.2"))
    # The age of the latest counts.
    pair.later(WHOLE_MS)
    assert pair.do(pair.b, PromiseGet(B)) == [200]
    pair.later(30 * DAY)
    assert pair.do(pair.b, PromiseGet(B)) == [410]


def test_a_broker_that_is_away_keeps_members_and_holds_nothing_else_up(pair: Pair) -> None:
    pair.do(pair.a, done(A))
    pair.do(pair.b, PromiseCreate("own-p2", FAR))
    pair.is_away = True
    pair.later(31 * DAY)
    pair.later(WHOLE_MS)
    assert len(pair.asked) == 1, "what is unanswered is not asked again"
    assert pair.do(pair.b, PromiseGet(B)) == [200]
    # Its links have ended: a later pass asks again, and other kinds of passes went on.
    pair.b.core.answered(pair.lost[0], Refused(503, "away"), pair.b.now)
    pair.is_away = False
    pair.later(WHOLE_MS)
    assert pair.do(pair.b, PromiseGet(B)) == [410]


def test_after_a_purge_by_hand_they_follow() -> None:
    pair = Pair(RetentionRules(idempotency=DAY))
    pair.do(pair.a, PromiseCreate(A, FAR), done(A))
    pair.do(pair.b, member(B), done(B))
    pair.later(DAY // 2)
    assert not pair.asked
    command = PromisePurge(pair.a.now)
    # The one with the members is first, as it may be.
    pair.do(pair.b, command)
    pair.do(pair.a, command)
    assert pair.do(pair.a, PromiseGet(A)) == [410]
    pair.pass_time(AFTER_PURGE_MS + 2 * IDLE_MS, 1000)
    assert pair.do(pair.b, PromiseGet(B)) == [410]


def test_members_whose_root_keeps_longer_stay(pair: Pair) -> None:
    pair = Pair()
    pair.do(pair.a, PromiseCreate(A, FAR, EMPTY, {TAG_RETENTION: "never"}), done(A))
    pair.do(pair.b, member(B), done(B))
    pair.later(400 * DAY)
    pair.later(WHOLE_MS)
    assert PromiseGet(A) in pair.asked
    assert pair.do(pair.b, PromiseGet(B)) == [200]


def stray(id_: str, settled_at: int = 0) -> EndedGraph:
    return EndedGraph(id_, "resolved", settled_at, [(f"x-{id_}", "resolved")], False)


@pytest.mark.parametrize(
    ("reply", "goes"),
    [
        (Reply(410), True),
        (Reply(404), False),
        (Reply(503), False),
        (Reply(200), False),
        (Reply(200, promise=PromiseRecord("r", "pending", EMPTY, EMPTY, {}, FAR, 1)), False),
        (Reply(200, promise=PromiseRecord("r", "resolved", EMPTY, EMPTY, {}, FAR, 1, 2)), False),
        (
            Reply(
                200,
                promise=PromiseRecord(
                    "r", "resolved", EMPTY, Value({"dropped": "5"}), {}, FAR, 1, 2
                ),
            ),
            True,
        ),
    ],
)
def test_what_is_said_of_the_root_decides(reply: Reply, goes: bool) -> None:
    strays = Strays(RULES, lambda _: None)
    assert strays.may_look(None, DAY)
    assert strays.ask_about([stray("r")], None)
    assert strays.told("r", Response(0, reply), 29 * DAY)
    assert bool(strays.take()) is goes


def test_a_root_that_nobody_knows_counts_as_gone_in_the_usual_time() -> None:
    strays = Strays(RULES, lambda _: None)
    for now, goes in ((30 * DAY, False), (30 * DAY + 7, True)):
        strays.ask_about([stray("r", 7)], None)
        strays.told("r", Response(0, Reply(404)), now)
        assert bool(strays.take()) is goes


def test_questions_are_bounded() -> None:
    asked: list[SlotCommand] = []
    strays = Strays(RULES, asked.extend)
    for number in range(2 * UNANSWERED_MAX):
        if strays.may_look("x" if number else None, DAY):
            strays.ask_about([stray(f"r{number}")], "x")
        strays.take()
    assert len(asked) == UNANSWERED_MAX
    assert not strays.told("r5", Response(0, Reply(410)), DAY), "it came too late"
    assert strays.take() == []
    assert strays.may_look("x", DAY)
    assert ANSWERS_MS > 0 < FIRST_MS
