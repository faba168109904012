"""Searches: when one begins, whose turn it is, and that nothing waits for it."""

from __future__ import annotations

import pytest

from tests.unit.broker.core.rig import Rig
from understudy_broker.protocol.messages import Response
from understudy_store.commands import PromiseSearch, ScheduleSearch, TaskSearch

C, D = b"peer-c", b"peer-d"


@pytest.fixture
def rig() -> Rig:
    rig = Rig(searches_max=5, peer_searches_max=3)
    for peer, name in ((C, "c"), (D, "d")):
        rig.join(peer, name, kind="client")
    return rig


def step(rig: Rig) -> None:
    """One step and its commit; no search is made."""
    if rig.step().batch is not None:
        rig.commit()


def corrs(rig: Rig, peer: bytes) -> list[int]:
    return [answer.corr for answer in rig.take(peer, Response)]


@pytest.mark.parametrize("search", [PromiseSearch(), TaskSearch(), ScheduleSearch()])
def test_later_requests_are_answered_before_a_search_that_takes_long(
    rig: Rig, search: PromiseSearch | TaskSearch | ScheduleSearch
) -> None:
    asked = rig.ask(C, search)
    step(rig)
    assert rig.core.searches.take() is not None
    rig.ask(D, search)
    assert rig.create(C, "later", target=None).status == 201
    assert rig.core.searches.take() is None, "one at a time"
    rig.core.searches.answered(rig.engine.search(rig.read(search), 1))
    step(rig)
    assert corrs(rig, C) == [asked]


def test_a_search_begins_once_all_that_was_asked_before_is_committed(rig: Rig) -> None:
    """It sees a peer's own writes."""
    for number in range(3):
        rig.ask(C, rig.creation(f"p{number}"))
        rig.ask(C, PromiseSearch(prefix="p"))
    assert rig.step().batch is not None
    assert rig.core.searches.take() is None
    rig.commit()
    rig.turn()
    replies = [answer.reply for answer in rig.take(C, Response)]
    pages = [len(reply.promises) for reply in replies if reply.promises is not None]
    assert pages == [3, 3, 3]


def test_one_that_waits_for_nothing_to_be_committed_still_waits_for_the_batch_before(
    rig: Rig,
) -> None:
    rig.ask(C, rig.creation("p"))
    assert rig.step().batch is not None
    rig.ask(C, PromiseSearch(prefix="p"))
    assert rig.step().batch is None
    assert rig.core.searches.take() is None
    rig.commit()
    assert rig.core.searches.take() is None, "not before its own step has ended"
    step(rig)
    assert rig.core.searches.take() is not None


def test_peers_take_turns(rig: Rig) -> None:
    many = [rig.ask(C, PromiseSearch()) for _ in range(3)]
    one = rig.ask(D, PromiseSearch())
    step(rig)
    order = []
    while rig.search():
        step(rig)
        order += corrs(rig, C) + corrs(rig, D)
    assert order == [many[0], one, *many[1:]]


def test_searches_that_wait_are_bounded_for_a_peer_and_for_all(rig: Rig) -> None:
    for _ in range(4):
        rig.ask(C, PromiseSearch())
    for _ in range(3):
        rig.ask(D, PromiseSearch())
    step(rig)
    [mine] = rig.take(C, Response)
    assert (mine.reply.status, mine.reply.error) == (
        429,
        "3 searches of this peer wait, and so many may: ask again later",
    )
    [other] = rig.take(D, Response)
    assert other.reply.status == 429
    assert other.reply.error == "5 searches wait, and so many may: ask again later"
    assert rig.core.metrics.read()["searches"] == 5
    rig.turn()
    assert (len(corrs(rig, C)), len(corrs(rig, D))) == (3, 2)
    assert rig.core.metrics.read()["searches"] == 0
    assert rig.reply(C, PromiseSearch()).ok


def test_a_refused_search_takes_no_room(rig: Rig) -> None:
    for _ in range(5):
        assert rig.reply(C, PromiseSearch(limit=0)).status == 400
    assert rig.reply(C, PromiseSearch()).ok


def test_nobody_searches_for_a_peer_that_is_gone(rig: Rig) -> None:
    for _ in range(3):
        rig.ask(C, PromiseSearch())
    step(rig)
    assert rig.core.searches.take() is not None
    rig.core.connection_lost(C, rig.now)
    rig.pass_time(1_000)
    rig.join(C, "c", kind="client", boot="2")
    rig.core.searches.answered(rig.engine.search(rig.read(PromiseSearch()), 1))
    rig.turn()
    assert corrs(rig, C) == [], "they were of the session before"
    assert rig.core.metrics.read()["searches"] == 0


def test_an_answered_search_is_no_unanswered_request(rig: Rig) -> None:
    rig.reply(C, PromiseSearch())
    assert rig.core.sessions.by_peer[C].inflight == 0
    rig.ask(C, PromiseSearch())
    step(rig)
    assert rig.core.sessions.by_peer[C].inflight == 1
