"""Watches of an edge: one at the broker for each who asks, and each gets what it may."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from understudy.edge.asker import ASKER
from understudy.edge.watches import Watch, Watches
from understudy_broker.protocol.messages import PromiseUnwatch, PromiseWatch, Response
from understudy_store.commands import Reply
from understudy_store.records import EMPTY, PromiseRecord

RECORD = PromiseRecord("a", "resolved", EMPTY, EMPTY, {}, 9, 1, 2)


class Broker:
    """A broker that is asked to watch, and answers when the test says so."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, str | None]] = []
        self.replies: list[Any] = []
        self.watches = Watches(self._send)

    def _send(self, command: Any, on_reply: Any, asker: str | None) -> None:
        self.sent.append((command, asker))
        if isinstance(command, PromiseWatch):
            self.replies.append(on_reply)

    @contextmanager
    def waiting(self, asker: str | None, id_: str = "a") -> Iterator[Watch]:
        token = ASKER.set(asker)
        try:
            with self.watches.waiting(id_) as watch:
                if watch.waiting == 1:
                    self.watches.ask(id_)
                yield watch
        finally:
            ASKER.reset(token)


def test_those_with_one_identity_share_a_watch() -> None:
    broker = Broker()
    with broker.waiting("ann") as one, broker.waiting("ann") as two:
        assert one is two
        assert broker.sent == [(PromiseWatch(("a",)), "ann")]
    assert broker.sent[1:] == [(PromiseUnwatch(("a",)), "ann")]


def test_what_is_refused_to_one_is_told_to_another() -> None:
    broker = Broker()
    with broker.waiting("ann") as ann, broker.waiting("bob") as bob, broker.waiting(None) as edge:
        assert [asker for _, asker in broker.sent] == ["ann", "bob", None]
        broker.replies[1](Response(0, Reply(403, "bob may not")))
        assert (bob.done.is_set(), ann.done.is_set(), edge.done.is_set()) == (True, False, False)
        assert bob.refusal is not None
        broker.replies[0](Response(0, Reply(200, promises=[RECORD])))
        assert (ann.record, edge.record, bob.record) == (RECORD, None, None)
        broker.watches.resolve([RECORD])
        assert edge.record is RECORD
    assert len(broker.watches) == 0


def test_the_last_of_all_ends_the_watch_at_the_broker() -> None:
    broker = Broker()
    with broker.waiting("ann"):
        with broker.waiting("bob"):
            pass
        assert not any(isinstance(command, PromiseUnwatch) for command, _ in broker.sent)
    assert broker.sent[-1] == (PromiseUnwatch(("a",)), "ann")


def test_a_new_session_watches_for_the_same_ones() -> None:
    broker = Broker()
    with ExitStack() as stack:
        for asker, id_ in (("ann", "a"), ("bob", "a"), ("ann", "b"), (None, "c")):
            stack.enter_context(broker.waiting(asker, id_))
        broker.sent.clear()
        broker.watches.renew(lambda id_: True)
        assert broker.sent == [
            (PromiseWatch(("a", "b")), "ann"),
            (PromiseWatch(("a",)), "bob"),
            (PromiseWatch(("c",)), None),
        ]
        # One of several is refused, so each is asked for by itself, for the same one.
        broker.replies[-3](Response(0, Reply(403, "b is not ann's")))
        assert broker.sent[3:] == [(PromiseWatch(("a",)), "ann"), (PromiseWatch(("b",)), "ann")]


def test_a_settlement_is_told_to_nobody_to_whom_the_watch_may_yet_be_refused() -> None:
    """Whoever asks again and again would otherwise be told what another one waits for."""
    broker = Broker()
    with broker.waiting("ann") as ann, broker.waiting("bob") as bob, broker.waiting("cid") as cid:
        broker.replies[0](Response(0, Reply(200)))
        broker.watches.resolve([RECORD])
        assert (ann.record, bob.record, cid.record) == (RECORD, None, None)
        broker.replies[1](Response(0, Reply(403, "bob may not")))
        broker.replies[2](Response(0, Reply(200)))
        assert (bob.record, cid.record) == (None, RECORD)
        assert bob.refusal is not None


def test_a_create_that_watches_permits_its_own_watch() -> None:
    broker = Broker()
    token = ASKER.set("ann")
    try:
        with broker.watches.waiting("a") as ann, broker.waiting("bob") as bob:
            ASKER.set("ann")
            broker.watches.permit("a")
            broker.watches.resolve([RECORD])
            assert (ann.record, bob.record) == (RECORD, None)
    finally:
        ASKER.reset(token)
