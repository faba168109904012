"""Watches: a peer hears of the settlement of its promise once, and not before its commit."""

from __future__ import annotations

from tests.unit.broker.core.rig import Rig
from understudy_broker.protocol.messages import (
    Bye,
    PromiseCreateWatched,
    PromiseUnwatch,
    PromiseWatch,
    Settled,
)
from understudy_store.commands import PromiseCreate, PromiseGet, PromiseSettle
from understudy_store.records import TAG_TARGET, Value

A, C = b"peer-a", b"peer-c"


def test_watch_returns_settled_promises_and_names_absent_ones(rig: Rig) -> None:
    rig.create(C, "p", target=None)
    rig.create(C, "q", target=None)
    rig.reply(C, PromiseSettle("p", "resolved"))
    reply = rig.reply(C, PromiseWatch(("p", "q")))
    assert [p.id for p in reply.promises or []] == ["p"]
    absent = rig.reply(C, PromiseWatch(("q", "nope")))
    assert absent.status == 404
    assert "nope" in (absent.error or "")


def test_unwatched_promises_are_not_told_of(rig: Rig) -> None:
    rig.create(C, "p", target=None)
    rig.reply(C, PromiseWatch(("p",)))
    rig.reply(C, PromiseUnwatch(("p",)))
    rig.reply(C, PromiseSettle("p", "resolved"))
    assert rig.take(C, Settled) == []


def test_a_watch_ends_with_its_session(rig: Rig) -> None:
    rig.create(A, "p", target=None)
    rig.reply(C, PromiseWatch(("p",)))
    rig.send(C, Bye())
    rig.join(C, "c", kind="client", group="callers")
    rig.reply(A, PromiseSettle("p", "resolved"))
    assert rig.take(C, Settled) == []


def test_watchers_are_told_in_the_order_in_which_they_asked(rig: Rig) -> None:
    rig.create(C, "p", target=None)
    peers = [b"peer-%d" % number for number in range(20)]
    for peer in reversed(peers):
        rig.join(peer, peer.decode(), kind="client")
        rig.reply(peer, PromiseWatch(("p",)))
    rig.sent.clear()
    rig.reply(C, PromiseSettle("p", "resolved"))
    told = [peer for peer, messages in rig.sent if any(isinstance(m, Settled) for m in messages)]
    assert told == peers[::-1]


def test_a_deadline_is_told_to_watchers(rig: Rig) -> None:
    rig.create(C, "p", target=None, in_ms=500)
    rig.reply(C, PromiseWatch(("p",)))
    rig.pass_time(600)
    assert rig.one(C, Settled).promises[0].state == "rejected_timedout"


def test_watches_are_bounded() -> None:
    rig = Rig(watches_max=2)
    rig.join(C, "c", kind="client")
    for id_ in "pqr":
        rig.create(C, id_, target=None)
    assert rig.reply(C, PromiseWatch(("p", "q", "r"))).status == 429
    assert rig.reply(C, PromiseWatch(("p", "q"))).status == 200
    create = PromiseCreate("s", rig.now + 9_000)
    assert rig.reply(C, PromiseCreateWatched(create)).status == 429
    assert rig.reply(C, PromiseGet("s")).status == 404


def test_watchers_hear_of_no_settlement_before_its_commit(rig: Rig) -> None:
    rig.create(C, "p", target=None)
    rig.reply(C, PromiseWatch(("p",)))
    rig.ask(A, PromiseSettle("p", "resolved"))
    rig.step()
    assert rig.take(C, Settled) == []
    rig.commit()
    assert [p.id for p in rig.one(C, Settled).promises] == ["p"]


def test_watchers_are_not_sent_a_large_param_again(rig: Rig) -> None:
    tags = {TAG_TARGET: "g"}
    for id_, size in (("large", 5_000), ("small", 50)):
        rig.reply(C, PromiseCreate(id_, rig.now + 60_000, Value({"a": "b"}, b"x" * size), tags))
        rig.reply(C, PromiseWatch((id_,)))
        rig.reply(C, PromiseSettle(id_, "resolved", Value({}, b"y")))
        [settled] = rig.one(C, Settled).promises
        assert settled.param.headers == {"a": "b"}
        assert settled.value.data == b"y"
        assert (settled.param.data is None) == (id_ == "large")
    whole = rig.reply(C, PromiseGet("large")).promise
    assert whole is not None
    assert whole.param.data == b"x" * 5_000


class TestCreateWatched:
    """One request of who calls: it creates, and it watches."""

    def test_a_created_promise_is_watched_and_not_sent_back(self, rig: Rig) -> None:
        create = PromiseCreate("p", rig.now + 9_000, Value({}, b"x"))
        reply = rig.reply(C, PromiseCreateWatched(create))
        assert (reply.status, reply.promise) == (201, None)
        rig.reply(A, PromiseSettle("p", "resolved", Value({}, b"y")))
        assert [p.value.data for p in rig.one(C, Settled).promises] == [b"y"]

    def test_a_promise_that_was_there_is_sent_and_watched(self, rig: Rig) -> None:
        rig.create(A, "p", target=None)
        for _ in range(2):
            reply = rig.reply(C, PromiseCreateWatched(PromiseCreate("p", rig.now + 9_000)))
            assert reply.status == 200
            assert reply.promise is not None
            assert reply.promise.param.data == b"x"
        rig.reply(A, PromiseSettle("p", "resolved"))
        assert [p.id for p in rig.one(C, Settled).promises] == ["p"]

    def test_a_settled_promise_is_the_reply(self, rig: Rig) -> None:
        rig.create(A, "p", target=None)
        rig.reply(A, PromiseSettle("p", "resolved", Value({}, b"y")))
        reply = rig.reply(C, PromiseCreateWatched(PromiseCreate("p", rig.now + 9_000)))
        assert reply.promise is not None
        assert reply.promise.value.data == b"y"
        late = rig.reply(C, PromiseCreateWatched(PromiseCreate("late", rig.now - 1)))
        assert late.status == 201
        assert late.promise is not None
        assert late.promise.state == "rejected_timedout"
        assert rig.take(C, Settled) == []

    def test_a_refused_create_watches_nothing(self, rig: Rig) -> None:
        bad = PromiseCreate("", rig.now + 9_000)
        assert rig.reply(C, PromiseCreateWatched(bad)).status == 400
        session = rig.core.sessions.by_peer.get(C)
        assert session is not None
        assert not session.watches
