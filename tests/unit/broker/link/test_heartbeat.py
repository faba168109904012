"""Heartbeats: their interval, the rarer ones of idle peers, and brokers that are silent."""

from __future__ import annotations

import pytest

from tests.unit.broker.core.rig import hello
from tests.unit.broker.link.peer import Peer
from understudy_broker.protocol.messages import PROTOCOL_VERSION, Beat, Request, Response, Welcome
from understudy_store.commands import Reply


def test_a_busy_peer_sends_heartbeats_and_gives_up_a_silent_broker() -> None:
    peer = Peer()
    peer.connect()
    assert peer.sent(2_499) == []
    assert peer.sent(2_500) == [Beat()]
    assert peer.sent(2_600) == []
    assert not peer.session.is_broken(7_499)
    assert peer.session.is_broken(7_500)
    peer.session.receive([Beat()], 7_000)
    assert not peer.session.is_broken(7_500)
    assert peer.session.next_due() == 5_000


def test_the_welcome_says_how_often_to_send_heartbeats() -> None:
    peer = Peer()
    peer.session.open(hello("a"), 0)
    welcome = Welcome(PROTOCOL_VERSION, "b", "a#1", 10_000, 1_000, 100, 1 << 20, 1 << 19)
    peer.session.receive([welcome], 0)
    assert peer.session.next_due() == 1_000
    assert peer.sent(999) == []
    assert peer.sent(1_000) == [Beat()]
    assert not peer.session.is_broken(2_999)
    assert peer.session.is_broken(3_000)


def idle() -> Peer:
    """Return a peer that connected at 0, has nothing at stake, and is idle since 2,500."""
    peer = Peer(busy=False)
    peer.connect()
    assert peer.session.next_due() == 2_500
    assert peer.sent(2_500) == []
    return peer


def test_an_idle_peer_sends_every_third_heartbeat_only() -> None:
    peer = idle()
    for due_at in (7_500, 15_000, 22_500):
        assert peer.session.next_due() == due_at
        assert peer.sent(due_at - 1) == []
        assert not peer.session.is_broken(due_at)
        assert peer.sent(due_at) == [Beat()]
        peer.session.receive([Beat()], due_at + 10)
        assert peer.sent(due_at + 10) == []
        assert peer.session.next_due() == due_at + 2_500
        assert peer.sent(due_at + 2_500) == []


@pytest.mark.parametrize("connected_at", [0, 1, 119, 249, 250, 2_617])
def test_idle_peers_of_one_machine_send_at_the_same_moments(connected_at: int) -> None:
    peer = Peer(busy=False)
    peer.connect(at=connected_at)
    assert peer.sent(connected_at + 2_500) == []
    due_at = peer.session.next_due()
    assert due_at % 250 == 0
    assert connected_at + 7_250 < due_at <= connected_at + 7_500
    assert peer.sent(due_at - 1) == []
    assert peer.sent(due_at) == [Beat()]
    peer.session.receive([Beat()], due_at)
    assert peer.sent(due_at + 2_500) == []
    assert peer.session.next_due() == due_at + 7_500


def test_an_idle_peer_that_becomes_busy_sends_at_once() -> None:
    peer = idle()
    peer.busy = True
    assert peer.sent(6_000) == [Beat()]
    assert peer.session.next_due() == 8_500


def test_an_idle_peer_sends_with_its_next_request_and_while_it_is_unanswered() -> None:
    peer = idle()
    corr = peer.request()
    request, beat = peer.sent(6_000)
    assert (type(request), beat) == (Request, Beat())
    peer.session.receive([Beat()], 6_000)
    assert peer.sent(8_500) == [Beat()]
    peer.session.receive([Response(corr, Reply(200))], 9_000)
    assert peer.sent(11_000) == []
    assert peer.session.next_due() == 8_500 + 7_500


def test_an_idle_peer_without_an_answer_sends_like_a_busy_one_and_gives_up() -> None:
    peer = idle()
    assert peer.sent(7_500) == [Beat()]
    assert peer.session.next_due() == 10_000
    assert peer.sent(10_000) == [Beat()]
    assert peer.session.next_due() == 12_500
    assert not peer.session.is_broken(12_499)
    assert peer.session.is_broken(12_500)


def test_a_peer_that_was_idle_gives_up_two_intervals_after_its_request() -> None:
    peer = idle()
    peer.request()
    assert Beat() in peer.sent(7_000)
    assert not peer.session.is_broken(11_999)
    assert peer.session.is_broken(12_000)


@pytest.mark.parametrize(
    ("lease_ttl_ms", "beat_ms", "idle_beat_ms"),
    [(10_000, 2_500, 7_500), (10_000, 200, 600), (10_000, 4_000, 7_500), (10_000, 9_000, 9_000)],
)
def test_the_idle_interval_is_well_below_the_lease(
    lease_ttl_ms: int, beat_ms: int, idle_beat_ms: int
) -> None:
    welcome = Welcome(PROTOCOL_VERSION, "b", "a#1", lease_ttl_ms, beat_ms, 1, 1, 1)
    assert welcome.idle_beat_ms == idle_beat_ms
