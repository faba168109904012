"""Deliveries of slots that move: the broker that has a slot delivers for it, and no other."""

from __future__ import annotations

from tests.unit.broker.core.test_slot_moves import MOVES, STAYS, Broker, move, pair, person
from understudy_broker.protocol.messages import Carry, Forward, Forwarded
from understudy_store.commands import PromiseRegisterListener, PromiseSettle

URL = "https://pay.example/hook"
EDGE = b"e"


def carrying(broker: Broker) -> None:
    broker.join(EDGE, "edge", group="edges", kind="edge")
    broker.send(EDGE, Carry(("https",), 8))
    broker.turn()


def forwards(broker: Broker) -> list[str]:
    return sorted(each.id for each in broker.take(EDGE, Forward))


def given(a: Broker) -> None:
    """Owe an unblock, and offer a task, in each of two slots."""
    for home in (MOVES, STAYS):
        a.reply(b"u", person(home))
        a.reply(b"u", PromiseRegisterListener(home, URL))
        a.reply(b"u", PromiseSettle(home, "resolved"))
        a.create(b"u", f"{home}.task", URL, in_ms=10**11)


def test_what_waits_goes_with_its_slot() -> None:
    a, b = pair()
    given(a)
    move(a, b)
    carrying(a)
    carrying(b)
    assert forwards(a) == [STAYS, f"{STAYS}.task"]
    assert forwards(b) == [MOVES, f"{MOVES}.task"]


def test_what_is_under_way_is_delivered_by_the_new_owner_too() -> None:
    a, b = pair()
    carrying(a)
    given(a)
    assert len(forwards(a)) == 4
    move(a, b)
    carrying(b)
    assert forwards(b) == [MOVES, f"{MOVES}.task"]
    for error in (None, "status 500"):
        # The old one does not act on what it no longer owes.
        a.send(EDGE, Forwarded(URL, MOVES, 0, error))
        a.turn()
    a.pass_time(700_000, 10_000)
    assert MOVES not in forwards(a)
    assert [record.id for _, record in b.machine.owed_unblocks()] == [MOVES]
    b.send(EDGE, Forwarded(URL, MOVES, 0))
    b.turn()
    assert b.machine.owed_unblocks() == []
