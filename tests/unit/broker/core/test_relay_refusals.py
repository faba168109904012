"""Deliveries that a carrier refuses, because its own list does not have the address."""

from __future__ import annotations

from tests.unit.broker.core.rig import Rig
from tests.unit.broker.core.test_relay import (
    CLIENT,
    EDGE,
    HOLDER,
    OTHER,
    PID,
    URL,
    carry,
    end,
    forwards,
    join,
    rig,
    task,
)
from understudy_broker.core.carriers import REFUSED_MAX, Carrier
from understudy_broker.core.relay_scheme import OFFER_RETRY_MS
from understudy_broker.protocol.messages import Forwarded
from understudy_store.commands import (
    PromiseRegisterListener,
    PromiseSettle,
    TaskAcquire,
    TaskRelease,
)

__all__ = ["rig"]


def refuse(rig: Rig, id_: str, peer: bytes, address: str = URL, version: int = 0) -> None:
    rig.send(peer, Forwarded(address, id_, version, "not on my list", refused=True))
    rig.turn()


def test_what_one_carrier_may_not_deliver_another_is_asked_for_at_once(rig: Rig) -> None:
    join(rig, OTHER)
    carry(rig)
    task(rig, "t")
    assert forwards(rig) == [("t", 0)]
    carry(rig, peer=OTHER)
    refuse(rig, "t", EDGE)
    assert (forwards(rig), forwards(rig, OTHER)) == ([], [("t", 0)])
    end(rig, "t", peer=OTHER)
    for number in range(3):
        task(rig, f"more-{number}")
    assert (len(forwards(rig)), len(forwards(rig, OTHER))) == (0, 3), "it is remembered"
    task(rig, "elsewhere", "https://pay.example/other")
    assert len(forwards(rig)) == 1, "of that address alone"
    carry(rig)
    for number in range(3):
        task(rig, f"later-{number}")
    assert forwards(rig), "until it says anew what it carries"


def test_what_all_carriers_refuse_has_failed(rig: Rig) -> None:
    join(rig, OTHER)
    carry(rig)
    carry(rig, peer=OTHER)
    task(rig, "t")
    for _ in range(2):
        [peer] = [each for each in (EDGE, OTHER) if forwards(rig, each)]
        refuse(rig, "t", peer)
    assert (forwards(rig), forwards(rig, OTHER)) == ([], [])
    assert [each.fields["error"] for each in rig.events if "error" in each.fields] == [
        "not on my list"
    ]
    rig.now += OFFER_RETRY_MS
    rig.turn()
    assert forwards(rig) or forwards(rig, OTHER), "one of them is asked again"


def test_a_refused_unblock_goes_to_another_carrier(rig: Rig) -> None:
    join(rig, OTHER)
    carry(rig)
    task(rig, "p", "g")
    assert rig.reply(CLIENT, PromiseRegisterListener("p", URL)).ok
    assert rig.reply(CLIENT, PromiseSettle("p", "resolved")).ok
    assert forwards(rig) == [("p", 0)]
    carry(rig, peer=OTHER)
    refuse(rig, "p", EDGE)
    assert forwards(rig, OTHER) == [("p", 0)]


def test_no_more_refusals_are_remembered_than_may_be(rig: Rig) -> None:
    carrier = Carrier(rig.core.sessions.by_peer[EDGE])
    for number in range(REFUSED_MAX + 1):
        carrier.refuse(f"https://pay.example/{number}")
    assert not carrier.has_refused("https://pay.example/0")
    assert carrier.has_refused(f"https://pay.example/{REFUSED_MAX}")


def test_a_newer_offer_of_a_carrier_that_goes_or_refuses_is_made_once(rig: Rig) -> None:
    join(rig, OTHER)
    carry(rig)
    task(rig, "a")
    task(rig, "b")
    for id_ in ("a", "b"):
        assert rig.reply(HOLDER, TaskAcquire(id_, 0, PID, 10_000)).ok
        assert rig.reply(HOLDER, TaskRelease(id_, 1)).ok
    assert forwards(rig) == [("a", 0), ("b", 0)]
    carry(rig, peer=OTHER)
    refuse(rig, "a", EDGE)
    rig.core.connection_lost(EDGE, rig.now)
    rig.turn()
    assert sorted(forwards(rig, OTHER)) == [("a", 1), ("b", 1)]
    for id_ in ("a", "b"):
        end(rig, id_, 1, peer=OTHER)
    assert forwards(rig, OTHER) == []
