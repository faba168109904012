"""Delivery by carriers: offers and unblocks, places that hang, carriers that go."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.unit.broker.core.rig import Rig
from understudy_broker.core.carriers import place_of
from understudy_broker.core.relay_scheme import (
    RETRY_MS_MAX,
    UNCARRIED_MAX,
    UNCARRIED_MS,
)
from understudy_broker.protocol.messages import Beat, Carry, Forward, Forwarded, Refused
from understudy_store.commands import (
    PromiseCreate,
    PromiseRegisterListener,
    PromiseSettle,
    TaskAcquire,
    TaskRelease,
)
from understudy_store.engines.memory import MemoryEngine
from understudy_store.records import TAG_EXTERNAL, Value, foreign_pid

EDGE, OTHER, CLIENT, HOLDER = b"e", b"o", b"c", b"h"
URL = "https://pay.example/hook"
LONG_MS = 10**9
UNCARRIED = "no edge and no connector"
PID = foreign_pid("them")


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.join(CLIENT, "client", kind="client")
    join(rig, HOLDER)
    join(rig)
    return rig


def join(rig: Rig, peer: bytes = EDGE) -> None:
    rig.join(peer, f"edge-{peer.decode()}", group="edges", kind="edge")


def carry(
    rig: Rig, *schemes: str, credit: int = 8, peer: bytes = EDGE, places: tuple[str, ...] = ()
) -> None:
    rig.send(peer, Carry(schemes or ("https",), credit, places))
    rig.turn()


def forwards(rig: Rig, peer: bytes = EDGE) -> list[tuple[str, int]]:
    """The deliveries since the last look, each as id and version."""
    return [(each.id, each.version) for each in rig.take(peer, Forward)]


def end(
    rig: Rig, id_: str, version: int = 0, error: str | None = None, *,
    peer: bytes = EDGE, address: str = URL, again_ms: int | None = None,
) -> None:  # fmt: skip
    rig.send(peer, Forwarded(address, id_, version, error, again_ms))
    rig.turn()


def task(rig: Rig, id_: str, address: str = URL) -> None:
    assert rig.create(CLIENT, id_, address, in_ms=LONG_MS).ok


def listened(rig: Rig, id_: str, *addresses: str) -> None:
    """Settle a promise that these addresses listen to."""
    rig.reply(CLIENT, PromiseCreate(id_, rig.now + LONG_MS, Value({}), {TAG_EXTERNAL: "true"}))
    for address in addresses or (URL,):
        assert rig.reply(CLIENT, PromiseRegisterListener(id_, address)).ok
    assert rig.reply(CLIENT, PromiseSettle(id_, "resolved")).ok


def pass_time(rig: Rig, ms: int, step_ms: int = 1_000) -> None:
    """Let time pass in which the peers live."""
    for _ in range(0, ms, step_ms):
        for peer in (EDGE, OTHER, CLIENT, HOLDER):
            rig.send(peer, Beat())
        rig.pass_time(step_ms, step_ms)
        rig.take(OTHER, Refused)


def texts(rig: Rig) -> list[str]:
    found = [f"{event.text} {event.fields}" for event in rig.events]
    rig.events.clear()
    return found


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("https://pay.example/hook?a#b", "https://pay.example"),
        ("https://pay.example:8443", "https://pay.example:8443"),
        ("http://[::1]:80?x", "http://[::1]:80"),
        ("https://pay.example/a/b", "https://pay.example"),
        ("amqp://mq/orders", "amqp://mq"),
        ("amqps://mq:5671/shop/orders?a/b", "amqps://mq:5671/shop"),
        ("redis://mq/2/orders/x", "redis://mq/2"),
        ("nats://mq/a/b", "nats://mq"),
    ],
)
def test_a_place_is_an_address_without_its_path(address: str, place: str) -> None:
    assert place_of(address) == place


# Offers ------------------------------------------------------------------------------------------


def test_a_task_is_offered_and_not_acquired(rig: Rig) -> None:
    carry(rig)
    task(rig, "a")
    assert rig.take(EDGE, Forward) == [Forward(URL, "a", 0, None)]
    end(rig, "a")
    assert rig.reply(HOLDER, TaskAcquire("a", 0, PID, 10_000)).status == 200


def test_a_task_waits_for_a_carrier_of_its_scheme(rig: Rig) -> None:
    task(rig, "a")
    carry(rig, "http", "nats")
    assert forwards(rig) == []
    carry(rig, "https")
    assert forwards(rig) == [("a", 0)]


def test_what_nobody_acquires_is_offered_again_by_the_rules_of_tasks(rig: Rig) -> None:
    carry(rig)
    task(rig, "a")
    for _ in range(3):
        assert forwards(rig) == [("a", 0)]
        end(rig, "a")
        pass_time(rig, 50_000)
        assert forwards(rig) == []
        pass_time(rig, 12_000)


def test_an_offer_under_way_is_not_made_twice(rig: Rig) -> None:
    carry(rig)
    task(rig, "a")
    pass_time(rig, 130_000)
    assert forwards(rig) == [("a", 0)]


def test_a_task_that_was_acquired_and_let_go_meanwhile_is_offered_anew(rig: Rig) -> None:
    carry(rig)
    task(rig, "a")
    assert rig.reply(HOLDER, TaskAcquire("a", 0, PID, 10_000)).ok
    assert rig.reply(HOLDER, TaskRelease("a", 1)).ok
    assert forwards(rig) == [("a", 0)]  # the answer to it is not there yet
    end(rig, "a", 7)
    assert forwards(rig) == []
    end(rig, "a", 0)
    assert forwards(rig) == [("a", 1)]
    end(rig, "a", 1)
    assert forwards(rig) == []


def test_a_task_that_is_taken_or_settled_while_it_waits_is_not_offered(rig: Rig) -> None:
    for id_ in ("settled", "taken", "waits"):
        task(rig, id_)
    assert rig.reply(CLIENT, PromiseSettle("settled", "resolved")).ok
    assert rig.reply(HOLDER, TaskAcquire("taken", 0, PID, 10_000)).ok
    carry(rig)
    assert forwards(rig) == [("waits", 0)]


# Credit and turns --------------------------------------------------------------------------------


def test_no_more_are_under_way_than_the_credit(rig: Rig) -> None:
    carry(rig, credit=3)
    for n in range(9):
        task(rig, f"a{n}", f"https://host-{n}/")
    assert forwards(rig) == [("a0", 0), ("a1", 0), ("a2", 0)]
    end(rig, "a1", address="https://host-1/")
    assert forwards(rig) == [("a3", 0)]
    carry(rig, credit=0)
    end(rig, "a0", address="https://host-0/")
    assert forwards(rig) == []


def test_a_place_that_hangs_leaves_room_for_others(rig: Rig) -> None:
    carry(rig, credit=8)
    for n in range(50):
        task(rig, f"hangs-{n}", f"https://hangs.example/{n}")
    assert len(forwards(rig)) == 4
    for n in range(20):
        task(rig, f"a{n}")
        assert forwards(rig) == [(f"a{n}", 0)]
        end(rig, f"a{n}")
    for place in ("second", "third", "fourth", "fifth"):
        for n in range(10):
            task(rig, f"{place}-{n}", f"https://{place}.example/{n}")
    assert [id_ for id_, _ in forwards(rig)] == ["second-0", "second-1", "third-0", "fourth-0"]


def test_places_have_turns(rig: Rig) -> None:
    for n in range(4):
        for place in "xyz":
            task(rig, f"{place}{n}", f"https://{place}/{n}")
    carry(rig, credit=1)
    seen: list[str] = []
    while found := forwards(rig):
        [(id_, _)] = found
        seen.append(id_)
        end(rig, id_, address=f"https://{id_[0]}/{id_[1]}")
    assert seen == [f"{place}{n}" for n in range(4) for place in "xyz"]


def test_carriers_have_turns(rig: Rig) -> None:
    join(rig, OTHER)
    carry(rig, credit=100)
    carry(rig, credit=100, peer=OTHER)
    for n in range(10):
        task(rig, f"a{n}", f"https://host-{n}/")
    assert (len(forwards(rig)), len(forwards(rig, OTHER))) == (5, 5)


# Unblocks ----------------------------------------------------------------------------------------


def test_an_unblock_is_owed_until_it_is_delivered(rig: Rig) -> None:
    carry(rig)
    listened(rig, "p", URL, "https://other.example/")
    sent = rig.take(EDGE, Forward)
    assert [(each.address, each.id, each.version) for each in sent] == [
        (URL, "p", 0), ("https://other.example/", "p", 0)
    ]  # fmt: skip
    assert all(each.promise is not None and each.promise.settled for each in sent)
    end(rig, "p")
    end(rig, "p", error="status 500", address="https://other.example/")
    assert [address for address, _ in rig.machine.owed_unblocks()] == ["https://other.example/"]
    pass_time(rig, 5_000)
    end(rig, "p", address="https://other.example/")
    assert rig.machine.owed_unblocks() == []


def test_an_hour_of_500(rig: Rig) -> None:
    carry(rig)
    listened(rig, "p")
    began, times = rig.now, []
    while rig.now < began + 3_600_000:
        if forwards(rig):
            times.append((rig.now - began) // 1_000)
            end(rig, "p", error="status 500")
        pass_time(rig, 5_000, 2_500)
    pauses = [b - a for a, b in pairwise(times)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (5, RETRY_MS_MAX // 1_000)
    assert len(times) == 12
    # It is said once, and its end too.
    assert len([text for text in texts(rig) if "a delivery has failed" in text]) == 1
    while not forwards(rig):
        pass_time(rig, 10_000)
    end(rig, "p")
    assert len([text for text in texts(rig) if "arrive again" in text]) == 1
    assert rig.machine.owed_unblocks() == []
    assert rig.core.step(rig.now, rig.find).due_at != rig.now


def test_unblocks_are_owed_after_a_restart(rig: Rig) -> None:
    listened(rig, "p")
    engine = rig.engine
    assert isinstance(engine, MemoryEngine)
    again = Rig(engine, start=rig.now)
    join(again)
    carry(again)
    assert forwards(again) == [("p", 0)]


def test_an_unblock_to_the_address_of_the_offer_comes_after_it(rig: Rig) -> None:
    carry(rig)
    task(rig, "a")
    assert rig.reply(CLIENT, PromiseRegisterListener("a", URL)).ok
    assert rig.reply(CLIENT, PromiseSettle("a", "resolved")).ok
    [offer] = rig.take(EDGE, Forward)
    assert offer.promise is None
    end(rig, "a")
    assert rig.machine.owed_unblocks() != []
    [unblock] = rig.take(EDGE, Forward)
    assert unblock.promise is not None
    end(rig, "a")
    assert rig.machine.owed_unblocks() == []


# Carriers that go --------------------------------------------------------------------------------


def test_what_a_carrier_had_under_way_goes_to_another_at_once(rig: Rig) -> None:
    carry(rig)
    listened(rig, "p")
    task(rig, "taken")
    task(rig, "a")
    task(rig, "b", "https://other.example/")
    assert len(forwards(rig)) == 4
    assert rig.reply(HOLDER, TaskAcquire("taken", 0, PID, 10_000)).ok
    join(rig, OTHER)
    carry(rig, peer=OTHER)
    assert forwards(rig, OTHER) == []
    rig.core.connection_lost(EDGE, rig.now)
    rig.turn()
    assert sorted(forwards(rig, OTHER)) == [("a", 0), ("b", 0), ("p", 0)]
    end(rig, "p", peer=OTHER)
    assert rig.machine.owed_unblocks() == []


def test_a_carrier_that_comes_back_carries_again_and_its_old_answers_count_no_more(
    rig: Rig,
) -> None:
    carry(rig)
    listened(rig, "p")
    assert forwards(rig) == [("p", 0)]
    join(rig)
    end(rig, "p")
    assert len(rig.machine.owed_unblocks()) == 1
    carry(rig)
    assert forwards(rig) == [("p", 0)]


def test_nobody_carries(rig: Rig) -> None:
    task(rig, "a")
    task(rig, "b")
    pass_time(rig, UNCARRIED_MS - 1_000)
    assert not any(UNCARRIED in text for text in texts(rig))
    pass_time(rig, 100_000)
    assert len([text for text in texts(rig) if UNCARRIED in text]) == 1
    carry(rig)
    assert sorted(forwards(rig)) == [("a", 0), ("b", 0)]
    end(rig, "a")
    rig.core.connection_lost(EDGE, rig.now)
    pass_time(rig, 100_000)
    assert len([text for text in texts(rig) if UNCARRIED in text]) == 1


def test_each_place_that_nobody_carries_is_said(rig: Rig) -> None:
    carry(rig, "amqp", places=("amqp://mq",))
    for n, place in enumerate(("amqp://mq", "amqp://other", "amqp://mq/shop", "redis://mq")):
        task(rig, f"a{n}", f"{place}/orders")
    task(rig, "gone", "nats://mq/x")
    assert rig.reply(CLIENT, PromiseSettle("gone", "resolved")).ok
    pass_time(rig, UNCARRIED_MS + 2_000)
    said = [text for text in texts(rig) if UNCARRIED in text]
    assert len(said) == 3
    for text, place in zip(sorted(said), ("amqp://mq/shop", "amqp://other", "redis://mq"),
                           strict=True):  # fmt: skip
        assert place in text


def test_no_more_places_without_a_carrier_are_remembered_than_may_be(rig: Rig) -> None:
    for n in range(UNCARRIED_MAX + 10):
        task(rig, f"a{n}", f"nats://mq-{n}/x")
    pass_time(rig, UNCARRIED_MS + 2_000)
    assert len([text for text in texts(rig) if UNCARRIED in text]) == UNCARRIED_MAX
    # Those that are gone make room for others.
    for n in range(20):
        assert rig.reply(CLIENT, PromiseSettle(f"a{n}", "resolved")).ok
    task(rig, "more", "nats://mq-more/x")
    pass_time(rig, UNCARRIED_MS + 2_000)
    assert any("mq-more" in text for text in texts(rig) if UNCARRIED in text)


# Places ------------------------------------------------------------------------------------------


def test_two_carriers_of_a_scheme_get_what_each_can_deliver(rig: Rig) -> None:
    join(rig, OTHER)
    carry(rig, "amqp", places=("amqp://mq", "amqp://mq:5672"))
    carry(rig, "amqp", places=("amqp://other", "amqp://mq/shop"), peer=OTHER)
    addresses = ["amqp://mq/x", "amqp://other/x", "amqp://mq:5672/x", "amqp://mq/shop/x"]
    for n, address in enumerate(addresses):
        task(rig, f"a{n}", address)
    assert forwards(rig) == [("a0", 0), ("a2", 0)]
    assert forwards(rig, OTHER) == [("a1", 0), ("a3", 0)]


def test_a_place_waits_for_its_carrier_though_another_has_room(rig: Rig) -> None:
    carry(rig, "amqp", places=("amqp://mq",))
    join(rig, OTHER)
    carry(rig, "amqp", places=("amqp://other",), peer=OTHER)
    rig.core.connection_lost(OTHER, rig.now)
    task(rig, "a", "amqp://other/x")
    assert forwards(rig) == []
    carry(rig, "amqp", places=("amqp://other", "amqp://mq"))
    assert forwards(rig) == [("a", 0)]


# Offers that are put off -------------------------------------------------------------------------


def offered_after(rig: Rig, until_s: int, again_ms: int, error: str | None = None) -> list[int]:
    """Return at which seconds a task is offered that nobody acquires."""
    began, times = rig.now, []
    while rig.now - began < until_s * 1_000:
        for id_, version in forwards(rig):
            times.append(round((rig.now - began) / 10_000) * 10)
            end(rig, id_, version, error, again_ms=again_ms)
        pass_time(rig, 10_000, 5_000)
    return times


def test_what_is_in_a_queue_is_offered_again_ever_more_rarely(rig: Rig) -> None:
    carry(rig)
    task(rig, "a")
    assert offered_after(rig, 10_000, 600_000) == [0, 600, 1200, 2400, 4800, 9600]


def test_a_failure_names_its_own_pause(rig: Rig) -> None:
    carry(rig)
    task(rig, "a")
    assert offered_after(rig, 100, 20_000, "the queue is away") == [0, 20, 40, 60, 80]


@pytest.mark.parametrize("again_ms", [-5, 10**15])
def test_the_pause_of_an_offer_has_bounds(rig: Rig, again_ms: int) -> None:
    carry(rig)
    task(rig, "a")
    assert forwards(rig) == [("a", 0)]
    end(rig, "a", again_ms=again_ms)
    pass_time(rig, 2 * 86_400_000, 1_000_000)
    assert forwards(rig) == [("a", 0)]


def test_a_task_that_was_let_go_is_offered_at_once_though_it_was_put_off(rig: Rig) -> None:
    carry(rig)
    task(rig, "a")
    assert forwards(rig) == [("a", 0)]
    end(rig, "a", again_ms=10**7)
    assert rig.reply(HOLDER, TaskAcquire("a", 0, PID, 10_000)).ok
    assert rig.reply(HOLDER, TaskRelease("a", 1)).ok
    assert forwards(rig) == [("a", 1)]
    assert rig.reply(HOLDER, TaskAcquire("a", 1, PID, 10_000)).ok
    end(rig, "a", 1, again_ms=10**7)  # It is pending no longer.
    assert rig.reply(HOLDER, TaskRelease("a", 2)).ok
    assert forwards(rig) == [("a", 2)]


# Refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message", [Carry(("https", "ftp"), 1), Carry(("poll",), 1), Carry(("http",), -1),
                Carry(("http",), 10**6), Carry(("http",), 1, ("https://a",)),
                Carry(("nats",), 1, ("nats://" + "a" * 600,)),
                Carry(("nats",), 1, tuple(f"nats://a{n}" for n in range(65)))],
)  # fmt: skip
def test_what_nobody_can_carry(rig: Rig, message: Carry) -> None:
    rig.send(EDGE, message)
    rig.turn()
    assert rig.refused(EDGE) == 400


def test_only_an_edge_carries(rig: Rig) -> None:
    carry(rig, peer=CLIENT)
    assert rig.refused(CLIENT) == 400
    end(rig, "a", peer=CLIENT)
    task(rig, "a")
    assert forwards(rig, CLIENT) == []


def test_where_no_address_needs_a_carrier_no_settlement_is_told_to_this_scheme(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the hot path has become longer")

    for name in ("withdraw", "assign", "offer", "unblock"):
        monkeypatch.setattr(f"understudy_broker.core.relay_scheme.RelayScheme.{name}", fail)
    carry(rig)
    rig.join(b"n", "node", credit=9)
    assert rig.create(CLIENT, "a").ok
    assert rig.reply(CLIENT, PromiseSettle("a", "resolved")).ok
