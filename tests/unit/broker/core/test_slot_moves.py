"""Slots that move from one broker to another while nodes and clients go on."""

from __future__ import annotations

import msgspec

from tests.unit.broker.core.rig import Rig, hello
from understudy_broker.protocol.messages import (
    NOBODY,
    Beat,
    Invoke,
    PromiseWatch,
    Resume,
    Settled,
    SlotMap,
    Slots,
    Unblock,
    Welcome,
)
from understudy_store.changes import Snapshot
from understudy_store.commands import (
    PromiseAnnounce,
    PromiseCreate,
    PromiseGet,
    PromiseRegisterListener,
    PromiseSettle,
    ScheduleCreate,
    TaskFulfill,
    TaskSuspend,
)
from understudy_store.engines.memory import MemoryEngine
from understudy_store.records import TAG_EXTERNAL, TAG_TARGET
from understudy_store.slots import SLOTS, slot_of

#: two homes: one moves, and one stays
MOVES, STAYS = "p0", "p2"
SLOT = slot_of(MOVES)
BROKERS = (("a", "tcp://a:1"), ("b", "tcp://b:1"))
ALL_AT_A = SlotMap(1, BROKERS, ((SLOTS - 1, 0),))
NOTHING = SlotMap(0, BROKERS, ((SLOTS - 1, NOBODY),))
MOVED = SlotMap(2, BROKERS, ((SLOT - 1, 0), (SLOT, 1), (SLOTS - 1, 0)))


def stored(engine: MemoryEngine, slot: int) -> Snapshot:
    """What an engine has of a slot."""
    whole = engine.load()
    return Snapshot(
        whole.now,
        [row for row in whole.live if slot_of(row.id) == slot],
        [pair for pair in whole.callbacks if slot_of(pair[0]) == slot],
        [pair for pair in whole.listeners if slot_of(pair[0]) == slot],
        [pair for pair in whole.unblocks if slot_of(pair[0].id) == slot],
        [each for each in whole.schedules if slot_of(each.id) == slot],
    )


class Broker(Rig):
    def __init__(self, name: str, slots: SlotMap) -> None:
        super().__init__(name=name, slots=slots)
        self.join(b"u", "user", kind="client", group="users")
        self.join(b"n", "node", credit=9)
        self.inbox = {}


def pair() -> tuple[Broker, Broker]:
    a, b = Broker("a", ALL_AT_A), Broker("b", NOTHING)
    # One database, of which `b` has loaded nothing.
    b.engine = a.engine
    return a, b


def give_up(broker: Broker, slot: int = SLOT) -> None:
    moves = broker.core.moves
    assert moves is not None
    moves.give_up({slot})
    broker.turn()
    assert not moves.leaving


def move(a: Broker, b: Broker) -> None:
    """Move the slot, as the shell does it with a database."""
    give_up(a)
    assert a.core.moves is not None
    assert b.core.moves is not None
    b.core.moves.admit({SLOT}, stored(a.engine, SLOT), b.now)
    for broker in (a, b):
        assert broker.core.moves is not None
        broker.core.moves.tell(MOVED)
        broker.turn()


def person(id_: str) -> PromiseCreate:
    return PromiseCreate(id_, 10**12, tags={TAG_EXTERNAL: "true"})


class TestLeaving:
    def test_requests_are_refused_from_then_on_and_nothing_is_left(self) -> None:
        a, _ = pair()
        a.reply(b"u", person(MOVES))
        a.reply(b"u", person(STAYS))
        give_up(a)
        assert a.reply(b"u", PromiseGet(MOVES)).status == 421
        assert a.reply(b"u", PromiseGet(STAYS)).status == 200
        assert {each.id for each in a.machine.view.records()} == {STAYS}

    def test_what_was_performed_before_is_committed_and_answered_first(self) -> None:
        a, _ = pair()
        corr = a.ask(b"u", person(MOVES))
        a.step()
        late = a.ask(b"u", person(f"{MOVES}.2"))
        assert a.core.moves is not None
        a.core.moves.give_up({SLOT})
        a.step()
        assert a.core.moves.leaving, "a batch is under way"
        a.turn()
        assert not a.core.moves.leaving
        replies = {each.corr: each.reply.status for each in a.inbox[b"u"]}  # type: ignore[union-attr]
        assert replies == {corr: 201, late: 421}
        assert [row.id for row in a.engine.load().live] == [MOVES]

    def test_the_broker_pauses_while_the_last_commit_is_under_way(self) -> None:
        """Requests wait for it; a loop that went round and round meanwhile would burn a core."""
        a, _ = pair()
        a.ask(b"u", person(MOVES))
        a.step()
        assert a.core.moves is not None
        a.core.moves.give_up({SLOT})
        a.ask(b"u", person(STAYS))
        due_at = a.step().due_at
        assert due_at is not None
        assert due_at > a.now
        a.now = due_at
        a.send(b"n", Beat())
        a.now += a.config.beat_ms
        a.step()
        assert a.take(b"n", Beat), "heartbeats are answered, however long the commit takes"

    def test_claims_in_it_are_for_the_other_broker_to_judge(self) -> None:
        a, _ = pair()
        give_up(a)
        claims = ((MOVES, 1), (STAYS, 1))
        assert a.join(b"n2", "node-2", claims=claims).lost == (STAYS,)

    def test_its_tasks_are_offered_no_more(self) -> None:
        a, _ = pair()
        a.reply(b"u", PromiseCreate(MOVES, 10**12, tags={TAG_TARGET: "later"}))
        assert a.core.dispatcher.statistics().queued == 1
        give_up(a)
        assert a.core.dispatcher.statistics().queued == 0
        a.join(b"l", "latecomer", group="later", credit=9)
        assert a.take(b"l", Invoke) == []

    def test_its_watches_and_unblocks_are_the_other_brokers_from_then_on(self) -> None:
        a, _ = pair()
        a.reply(b"u", person(MOVES))
        a.reply(b"u", person(f"{MOVES}.2"))
        a.reply(b"u", PromiseWatch((MOVES,)))
        a.reply(b"u", PromiseRegisterListener(f"{MOVES}.2", "absent"))
        a.reply(b"u", PromiseSettle(f"{MOVES}.2", "resolved"))
        give_up(a)
        session = a.core.sessions.by_peer[b"u"]
        assert not session.watches
        a.join(b"l", "latecomer", group="absent")
        a.pass_time(20_000, 1_000)
        assert a.take(b"l", Unblock) == []

    def test_what_it_asks_in_the_name_of_the_slot_is_not_sent(self) -> None:
        a, _ = pair()
        a.create(b"u", MOVES)
        a.reply(b"u", person(f"{MOVES}.2"))
        a.reply(b"n", TaskSuspend(MOVES, 1, (STAYS,)))
        give_up(a)
        assert a.core.take_requests(a.now) == []


class TestComing:
    def test_promises_go_on_at_the_other_broker(self) -> None:
        a, b = pair()
        a.reply(b"u", person(MOVES))
        assert b.reply(b"u", PromiseGet(MOVES)).status == 421
        move(a, b)
        assert [each.slots for each in b.take(b"u", Slots)] == [MOVED]
        # It has refused one in this session, which is to come again before any other.
        assert b.reply(b"u", PromiseGet(MOVES)).status == 421
        b.join(b"u", "user", kind="client", group="users")
        assert b.reply(b"u", PromiseGet(MOVES)).status == 200
        assert b.reply(b"u", PromiseGet(STAYS)).status == 421
        assert b.join(b"x", "another", kind="client").slots == MOVED

    def test_a_node_keeps_what_it_claims_there(self) -> None:
        a, b = pair()
        a.create(b"u", MOVES)
        assert len(a.take(b"n", Invoke)) == 1
        move(a, b)
        b.send(b"n2", hello("node", claims=((MOVES, 1),)))
        b.turn()
        assert b.one(b"n2", Welcome).lost == ()
        b.pass_time(b.config.boot_grace_ms + 1_000)
        assert b.reply(b"n2", TaskFulfill(MOVES, 1, "resolved")).status == 200

    def test_what_nobody_claims_is_handed_out_after_the_grace_and_is_no_crash(self) -> None:
        a, b = pair()
        a.create(b"u", MOVES)
        move(a, b)
        b.pass_time(b.config.boot_grace_ms - 1_000)
        assert b.take(b"n", Resume) == []
        b.pass_time(2_000)
        [resumed] = b.take(b"n", Resume)
        assert (resumed.promise.id, resumed.version) == (MOVES, 2)
        task = b.machine.view.task(MOVES)
        assert task is not None
        assert task.deaths == 0

    def test_a_pending_task_is_handed_out_at_once(self) -> None:
        a, b = pair()
        a.reply(b"u", PromiseCreate(MOVES, 10**12, tags={TAG_TARGET: "g"}))
        task = a.machine.view.task(MOVES)
        assert task is not None
        a2, _ = pair()
        a2.reply(b"u", PromiseCreate(MOVES, 10**12, tags={TAG_TARGET: "later"}))
        b.join(b"l", "latecomer", group="later", credit=9)
        move(a2, b)
        assert [each.promise.id for each in b.take(b"l", Invoke)] == [MOVES]

    def test_a_suspended_task_hears_of_what_it_waits_for_elsewhere(self) -> None:
        a, b = pair()
        a.create(b"u", MOVES)
        a.reply(b"u", person(STAYS))
        a.reply(b"n", TaskSuspend(MOVES, 1, (STAYS,)))
        a.core.take_requests(a.now)
        move(a, b)
        [asked] = b.core.take_requests(b.now)
        assert isinstance(asked, PromiseRegisterListener)
        a.join(b"b", "broker.b", kind="broker", group="brokers")
        assert a.reply(b"b", asked).status in (200, 201)
        a.reply(b"u", PromiseSettle(STAYS, "resolved"))
        [announced] = [
            each for each in a.core.take_requests(a.now) if isinstance(each, PromiseAnnounce)
        ]
        b.join(b"a", "broker.a", kind="broker", group="brokers")
        assert b.reply(b"a", announced).status == 200
        [resumed] = b.take(b"n", Resume)
        assert resumed.promise.id == MOVES
        assert [p.id for each in b.take(b"n", Settled) for p in each.promises] in ([], [STAYS])

    def test_what_is_owed_is_sent_by_the_broker_that_has_it(self) -> None:
        a, b = pair()
        a.reply(b"u", person(MOVES))
        a.reply(b"u", PromiseRegisterListener(MOVES, "absent"))
        a.reply(b"u", PromiseSettle(MOVES, "resolved"))
        move(a, b)
        b.join(b"l", "latecomer", group="absent")
        assert [each.promise.id for each in b.take(b"l", Unblock)] == [MOVES]

    def test_schedules_run_there(self) -> None:
        a, b = pair()
        made = a.reply(b"u", ScheduleCreate(MOVES, "* * * * *", "{id}.{timestamp}", 1_000))
        assert made.schedule is not None
        move(a, b)
        for broker in (a, b):
            broker.now = made.schedule.next_run_at
            broker.turn()
        id_ = f"{MOVES}.{made.schedule.next_run_at}"
        assert b.reply(b"u", PromiseGet(id_)).status == 200
        assert a.machine.view.record(id_) is None

    def test_a_slot_may_come_back(self) -> None:
        a, b = pair()
        a.reply(b"u", person(MOVES))
        move(a, b)
        give_up(b)
        assert a.core.moves is not None
        a.core.moves.admit({SLOT}, stored(a.engine, SLOT), a.now)
        a.core.moves.tell(msgspec.structs.replace(ALL_AT_A, version=3))
        assert a.reply(b"u", PromiseGet(MOVES)).status == 200


class TestTheLogOfAMove:
    def test_a_peer_that_joins_anew_because_of_it_is_no_news(self) -> None:
        a, b = pair()
        a.create(b"u", MOVES)
        move(a, b)
        b.events.clear()
        b.core.connection_lost(b"n", b.now, "connection closed")
        b.turn()
        b.join(b"n2", "node", claims=((MOVES, 1),))
        b.pass_time(1_000)
        assert [(event.text, event.level) for event in b.events] == [
            ("connection closed", "debug"),
            ("joined", "debug"),
        ]

    def test_a_peer_that_stays_away_is(self) -> None:
        a, b = pair()
        a.create(b"u", MOVES)
        move(a, b)
        b.join(b"n2", "node", claims=((MOVES, 1),))
        b.core.connection_lost(b"n2", b.now, "connection closed")
        b.turn()
        b.events.clear()
        b.pass_time(b.config.boot_grace_ms + 1_000)
        assert [(event.text, event.level) for event in b.events] == [
            ("lost, and has not joined anew", "warning"),
            ("gone; its tasks go to others", "warning"),
        ]

    def test_a_connection_that_is_lost_later_is(self) -> None:
        a, b = pair()
        a.create(b"u", MOVES)
        move(a, b)
        b.join(b"n2", "node", claims=((MOVES, 1),))
        b.pass_time(3_000, step_ms=500)
        b.events.clear()
        b.core.connection_lost(b"n2", b.now, "connection closed")
        b.turn()
        assert [(event.text, event.level) for event in b.events] == [
            ("connection closed", "warning")
        ]
