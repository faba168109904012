"""Brokers that ask one another: what they send, when, and what becomes of each answer."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.unit.broker.core.rig import Rig
from understudy_broker.core import between_slots
from understudy_broker.protocol.messages import (
    AnyCommand,
    Refused,
    Response,
    Resume,
    Settled,
    SlotCommand,
    SlotMap,
)
from understudy_broker.protocol.placement import slot_concerned
from understudy_store.addresses import slot_address
from understudy_store.commands import (
    PromiseAnnounce,
    PromiseCancel,
    PromiseCreate,
    PromiseOccur,
    PromiseRegisterListener,
    PromiseSettle,
    PromiseSupersede,
    Reply,
    ScheduleCreate,
    SchedulePut,
    TaskFulfill,
    TaskSuspend,
)
from understudy_store.engines.memory import MemoryEngine
from understudy_store.records import (
    EMPTY,
    TAG_BRANCH,
    TAG_EXTERNAL,
    TAG_ORIGIN,
    TAG_TARGET,
    PromiseRecord,
    SchedulePlan,
    Value,
)
from understudy_store.slots import slot_of

#: homes of the two brokers
A, B = "p0", "p2"
SLOTS = SlotMap(
    1, (("a", "tcp://a:1"), ("b", "tcp://b:1")), ((slot_of(B) - 1, 0), (slot_of(B), 1), (255, 0))
)


class Broker(Rig):
    """One of the two, with a peer `u` that asks it for things, and a node `n`."""

    def __init__(self, name: str, engine: MemoryEngine | None = None) -> None:
        super().__init__(engine, name=name, slots=SLOTS)
        self.join(b"u", "user", kind="client", group="users")
        self.join(b"n", "node", credit=9)
        self.join(b"a", "broker.a", kind="broker", group="brokers")
        self.join(b"b", "broker.b", kind="broker", group="brokers")
        self.inbox = {}

    def requests(self) -> list[SlotCommand]:
        return self.core.take_requests(self.now)

    def answer(self, command: SlotCommand, reply: Reply) -> None:
        self.core.answered(command, Response(0, reply), self.now)
        self.turn()

    def suspend(self, awaited: str) -> None:
        """Let the node wait for a promise with a call of its own."""
        assert self.create(b"u", A).status == 201
        assert self.reply(b"n", TaskSuspend(A, 1, (awaited,))).status == 200


def person(id_: str, **tags: str) -> PromiseCreate:
    return PromiseCreate(id_, 10**12, tags={TAG_EXTERNAL: "true", **tags})


def listener(id_: str, slot: int) -> PromiseRegisterListener:
    return PromiseRegisterListener(id_, slot_address(slot))


def exchange(brokers: Iterable[Broker]) -> list[AnyCommand]:
    """Carry requests and answers to and fro until there are none; return the requests."""
    by_name = {broker.config.name: broker for broker in brokers}
    sent: list[AnyCommand] = []
    moved = True
    while moved:
        moved = False
        for broker in by_name.values():
            for command in broker.requests():
                moved = True
                sent.append(command)
                slot = slot_concerned(command)
                owner = by_name["b" if slot == slot_of(B) else "a"]
                reply = owner.reply(broker.config.name.encode(), command)
                broker.answer(command, reply)
    return sent


class TestTwoBrokers:
    def test_a_task_is_resumed_by_a_promise_of_the_other(self) -> None:
        a, b = Broker("a"), Broker("b")
        b.reply(b"u", person(B))
        a.suspend(B)
        assert exchange((a, b)) == [listener(B, slot_of(A))]
        b.reply(b"u", PromiseSettle(B, "resolved", Value({}, b"it")))
        [announced] = exchange((a, b))
        assert isinstance(announced, PromiseAnnounce)
        assert announced.slot == slot_of(A)
        [told] = a.take(b"n", Settled)
        assert [(each.id, each.value.data) for each in told.promises] == [(B, b"it")]
        [resumed] = a.take(b"n", Resume)
        assert (resumed.promise.id, resumed.version) == (A, 2)
        assert not b.machine.owed_unblocks()

    def test_one_that_has_settled_before_resumes_it_as_well(self) -> None:
        a, b = Broker("a"), Broker("b")
        b.reply(b"u", person(B))
        b.reply(b"u", PromiseSettle(B, "resolved"))
        a.suspend(B)
        assert exchange((a, b)) == [listener(B, slot_of(A))]
        assert [each.promise.id for each in a.take(b"n", Resume)] == [A]

    def test_both_go_on_after_a_crash_at_any_moment(self) -> None:
        a, b = Broker("a"), Broker("b")
        b.reply(b"u", person(B))
        a.suspend(B)
        # The request is lost with the broker, and asked for again.
        a = Broker("a", a.engine)
        assert exchange((a, b)) == [listener(B, slot_of(A))]
        b = Broker("b", b.engine)
        b.reply(b"u", PromiseSettle(B, "resolved"))
        [announced] = b.requests()
        # It is performed, and the answer is lost with the broker that has asked.
        assert a.reply(b"b", announced).status == 200
        b = Broker("b", b.engine)
        assert exchange((a, b)) == [announced]
        assert len(a.take(b"n", Resume)) == 1
        assert Broker("b", b.engine).requests() == []

    def test_a_call_is_canceled_with_its_caller(self) -> None:
        a, b = Broker("a"), Broker("b")
        a.create(b"u", A)
        b.reply(
            b"u", PromiseCreate(B, 10**12, tags={TAG_BRANCH: A, TAG_ORIGIN: A, TAG_TARGET: "g"})
        )
        assert exchange((a, b)) == [listener(A, slot_of(B))]
        a.reply(b"u", PromiseCancel(A))
        exchange((a, b))
        record = b.machine.view.record(B)
        assert record is None or record.state == "rejected_canceled"
        assert not b.machine.view.statistics().promises_pending

    def test_the_promise_of_a_schedule_is_created_by_the_other(self) -> None:
        a, b = Broker("a"), Broker("b")
        made = a.reply(b"u", ScheduleCreate(A, "* * * * *", f"{B}.{{timestamp}}", 1_000))
        assert made.schedule is not None
        a.now = b.now = made.schedule.next_run_at + 120_000
        a.turn()
        dates = [each.date for each in exchange((a, b)) if isinstance(each, PromiseOccur)]
        assert dates == [made.schedule.next_run_at + n * 60_000 for n in range(3)]
        assert a.machine.state.schedules[A].last_run_at == dates[-1]

    def test_the_last_call_of_a_schedule_is_canceled_by_the_other(self) -> None:
        a, b = Broker("a"), Broker("b")
        plan = SchedulePlan(overlap="cancel_other")
        put = SchedulePut(A, "* * * * *", f"{B}.{{timestamp}}", 1_000_000, plan=plan)
        made = a.reply(b"u", put).schedule
        assert made is not None
        for minute in range(2):
            a.now = b.now = made.next_run_at + minute * 60_000
            a.turn()
            exchange((a, b))
        first, second = (f"{B}.{made.next_run_at + n * 60_000}" for n in range(2))
        before, after = map(b.machine.view.record, (first, second))
        # What has settled may have left the memory.
        assert before is None or before.state == "rejected_canceled"
        assert after is not None
        assert after.state == "pending"
        assert a.machine.state.schedules[A].course.last_id == second


class TestRequests:
    def test_nothing_is_asked_before_its_commit(self) -> None:
        a = Broker("a")
        a.create(b"u", A)
        a.ask(b"n", TaskSuspend(A, 1, (B,)))
        a.step()
        assert a.requests() == []
        a.commit()
        assert a.requests() == [listener(B, slot_of(A))]

    def test_an_announcement_is_owed_until_it_is_answered(self) -> None:
        b = Broker("b")
        b.reply(b"u", person(B))
        b.reply(b"a", listener(B, slot_of(A)))
        b.reply(b"u", PromiseSettle(B, "resolved"))
        [announced] = b.requests()
        assert [address for address, _ in b.machine.owed_unblocks()] == [slot_address(slot_of(A))]
        b.answer(announced, Reply(200))
        assert not b.machine.owed_unblocks()
        assert Broker("b", b.engine).requests() == []

    def test_what_is_refused_is_sent_again_later_and_said(self) -> None:
        a = Broker("a")
        a.suspend(B)
        [asked] = a.requests()
        a.core.answered(asked, Refused(429, "too many"), a.now)
        a.turn()
        assert a.requests() == []
        assert a.due_at is not None
        a.now = a.now + a.config.unblock_retry_ms
        assert a.requests() == [asked]
        assert "a request to another slot is refused" in a.events[-1].text

    def test_a_task_that_waits_for_what_does_not_exist_is_parked(self) -> None:
        a = Broker("a")
        a.suspend(B)
        [asked] = a.requests()
        a.answer(asked, Reply(404, "no such promise"))
        task = a.machine.view.task(A)
        assert task is not None
        assert (task.state, task.awaits) == ("halted", ())
        assert B in (task.cause or "")
        assert a.core.metrics.parked == 1
        assert a.requests() == []

    def test_only_so_many_are_under_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(between_slots, "OUTSTANDING_MAX", 2)
        b = Broker("b")
        for n in range(3):
            b.reply(b"u", person(f"{B}.{n}"))
            b.reply(b"a", listener(f"{B}.{n}", slot_of(A)))
            b.reply(b"u", PromiseSettle(f"{B}.{n}", "resolved"))
        first, second = b.requests()
        assert b.requests() == []
        assert b.core.metrics.read()["slot_requests"] == 3
        b.answer(second, Reply(200))
        [third] = b.requests()
        assert {each.promise.id for each in (first, second, third)} == {  # type: ignore[union-attr]
            f"{B}.{n}" for n in range(3)
        }

    def test_what_a_promise_was_called_with_is_not_announced(self) -> None:
        b = Broker("b")
        b.reply(b"u", PromiseCreate(B, 10**12, Value({}, b"x" * 9_999), {TAG_TARGET: "g"}))
        b.reply(b"a", listener(B, slot_of(A)))
        b.reply(b"n", TaskFulfill(B, 1, "resolved", Value({}, b"it")))
        [announced] = b.requests()
        assert isinstance(announced, PromiseAnnounce)
        assert (announced.promise.param, announced.promise.value.data) == (EMPTY, b"it")

    @pytest.mark.parametrize("peer", [b"u", b"n"])
    def test_others_than_brokers_may_not_send_them(self, peer: bytes) -> None:
        b = Broker("b")
        b.reply(b"u", person(B))
        settled = PromiseRecord(A, "resolved", EMPTY, EMPTY, {}, 9, 1, 5)
        for command in (
            listener(B, slot_of(A)),
            PromiseAnnounce(slot_of(B), settled),
            PromiseOccur("s", 1, f"{B}.1", 1, 2, EMPTY, {}),
            PromiseSupersede("s", f"{B}.1"),
        ):
            assert b.reply(peer, command).status == 403
        assert b.reply(peer, PromiseRegisterListener(B, "g")).status == 201
