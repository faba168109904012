"""Between slots: waits and calls across them, whatever the order in which brokers hear of it."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.store.machine.test_walk import CONFIG, Walker
from tests.unit.store.machine.world import START, World, create
from understudy_store.addresses import slot_address, slot_of_address
from understudy_store.commands import (
    PromiseAnnounce,
    PromiseCancel,
    PromiseOccur,
    PromiseRegisterCallback,
    PromiseRegisterListener,
    PromiseSettle,
    ScheduleCreate,
    ScheduleDelete,
    TaskContinue,
    TaskFence,
    TaskHalt,
    TaskSuspend,
)
from understudy_store.machine import MachineConfig
from understudy_store.records import EMPTY, PromiseRecord, PromiseState, Value
from understudy_store.slots import SLOTS, slot_of

SHARDED = MachineConfig(retry_timeout_ms=1000, sweep_max=1000, sharded=True)
HERE = slot_of("a")
#: waits of a suspended task and calls of it, in another slot
THERE = "elsewhere"


@pytest.fixture
def world() -> World:
    return World(SHARDED)


def settled(promise_id: str, state: PromiseState = "resolved", **tags: str) -> PromiseRecord:
    """A promise as the broker of another slot tells of it."""
    made = create(promise_id, START + 10_000, **tags)
    return PromiseRecord(
        promise_id, state, EMPTY, Value({}, b"1"), made.tags, made.timeout_at, START, START
    )


def listener(promise_id: str, slot: int = HERE) -> PromiseRegisterListener:
    return PromiseRegisterListener(promise_id, slot_address(slot))


def suspended(world: World, *awaited: str) -> None:
    world.root("a")
    assert world.do(TaskSuspend("a", 1, awaited)).status == 200


class TestWaits:
    def test_a_task_waits_for_what_is_not_known_here(self, world: World) -> None:
        suspended(world, THERE)
        assert world.machine.take_requests() == [listener(THERE)]
        assert world.state("a") == ("pending", "suspended")
        assert world.task("a").awaits == (THERE,)
        assert world.do(PromiseAnnounce(HERE, settled(THERE))).status == 200
        assert world.state("a") == ("pending", "pending")
        assert (world.task("a").resumes, world.task("a").awaits) == ((THERE,), ())

    def test_the_node_that_has_its_activation_is_told(self, world: World) -> None:
        suspended(world, THERE)
        world.do(PromiseAnnounce(HERE, settled(THERE)))
        assert [(each.promise.id, each.holder) for each in world.settled] == [(THERE, "n1")]

    def test_it_is_asked_for_once_until_it_is_heard_of(self, world: World) -> None:
        suspended(world, THERE)
        world.root("a.2")
        world.do(TaskSuspend("a.2", 1, (THERE,)))
        assert world.machine.take_requests() == [listener(THERE)]
        world.do(PromiseAnnounce(HERE, settled(THERE)))
        assert world.state("a.2") == ("pending", "pending")
        world.acquire("a", version=1)
        world.do(TaskSuspend("a", 2, (THERE,)))
        assert world.machine.take_requests() == [listener(THERE)]

    def test_what_is_settled_here_resumes_at_once(self, world: World) -> None:
        world.root("a")
        world.child("a", "a.1")
        world.do(PromiseSettle("a.1", "resolved"))
        reply = world.do(TaskSuspend("a", 1, ("a.1", THERE)))
        assert (reply.status, world.task("a").awaits) == (300, ())

    def test_it_goes_on_with_what_comes_first_and_hears_of_the_other(self, world: World) -> None:
        world.root("a")
        world.child("a", "a.1")
        world.do(TaskSuspend("a", 1, ("a.1", THERE)))
        world.do(PromiseSettle("a.1", "resolved"))
        assert world.state("a") == ("pending", "pending")
        assert world.task("a").awaits == (THERE,)
        world.acquire("a", version=1)
        world.do(PromiseAnnounce(HERE, settled(THERE)))
        assert (world.state("a"), world.task("a").awaits) == (("pending", "acquired"), ())
        assert world.task("a").resumes == (THERE,)

    def test_after_a_restart_it_is_asked_for_again(self, world: World) -> None:
        suspended(world, THERE)
        world.machine.take_requests()
        world.commit()
        world.restart()
        assert world.machine.take_requests() == [listener(THERE)]
        world.do(PromiseAnnounce(HERE, settled(THERE)))
        assert world.state("a") == ("pending", "pending")

    def test_a_settlement_that_was_not_written_is_heard_of_again(self, world: World) -> None:
        suspended(world, THERE)
        world.commit()
        world.do(PromiseAnnounce(HERE, settled(THERE)))
        world.restart()
        assert world.state("a") == ("pending", "suspended")
        assert world.machine.take_requests() == [listener(THERE)]

    def test_twice_does_no_harm(self, world: World) -> None:
        suspended(world, THERE)
        for _ in range(2):
            assert world.do(PromiseAnnounce(HERE, settled(THERE))).status == 200
        assert world.task("a").resumes == (THERE,)

    def test_a_task_that_is_over_hears_of_nothing(self, world: World) -> None:
        suspended(world, THERE)
        world.do(PromiseSettle("a", "resolved"))
        assert world.task("a").awaits == ()
        assert not world.machine.state.awaiters_elsewhere
        world.do(PromiseAnnounce(HERE, settled(THERE)))
        assert world.state("a") == ("resolved", "fulfilled")

    def test_a_task_past_its_deadline_is_settled_and_not_resumed(self, world: World) -> None:
        world.root("a", ms=50)
        world.do(TaskSuspend("a", 1, (THERE,)))
        world.advance(60)
        world.do(PromiseAnnounce(HERE, settled(THERE)))
        assert world.state("a") == ("rejected_timedout", "fulfilled")

    def test_a_halted_task_remembers_it(self, world: World) -> None:
        suspended(world, THERE)
        world.do(TaskHalt("a"))
        world.do(PromiseAnnounce(HERE, settled(THERE)))
        assert (world.state("a"), world.task("a").resumes) == (("pending", "halted"), (THERE,))

    def test_a_callback_across_slots(self, world: World) -> None:
        world.root("a")
        assert world.do(PromiseRegisterCallback(THERE, "a")).status == 201
        assert world.do(PromiseRegisterCallback(THERE, "a")).status == 200
        assert world.do(PromiseRegisterCallback(THERE, "none")).status == 422
        assert world.machine.take_requests() == [listener(THERE)]
        assert world.task("a").awaits == (THERE,)

    def test_what_does_not_exist_is_said_with_those_who_wait(self, world: World) -> None:
        suspended(world, THERE)
        world.machine.take_requests()
        awaiters = world.machine.view.awaiters
        assert (awaiters(THERE, HERE), awaiters(THERE, HERE + 1)) == (["a"], [])
        world.do(TaskHalt("a"))
        world.forget_ask(THERE, HERE + 1)
        world.forget_ask("another", HERE)
        assert world.task("a").awaits == (THERE,)
        world.forget_ask(THERE, HERE)
        assert (world.task("a").awaits, awaiters(THERE, HERE)) == ((), [])
        world.do(TaskContinue("a"))
        world.acquire("a", version=1)
        world.do(TaskSuspend("a", 2, (THERE,)))
        assert world.machine.take_requests() == [listener(THERE)]


class TestStoresOfBefore:
    def test_waits_across_slots_of_a_single_broker_go_on(self) -> None:
        world = World(MachineConfig(retry_timeout_ms=1000))
        world.promise(THERE, external="true")
        suspended(world, THERE)
        world.commit()
        world.machine = type(world.machine)(SHARDED)
        world.machine.restore(world.shelf.snapshot(), world.now)
        assert world.machine.take_requests() == [listener(THERE)]
        reply = world.machine.apply(PromiseAnnounce(HERE, settled(THERE)), world.now)
        assert reply.status == 200
        task = world.machine.view.task("a")
        assert task is not None
        assert (task.state, task.resumes, task.awaits) == ("pending", (THERE,), ())


class TestListeners:
    def test_a_slot_may_listen_to_any_promise(self, world: World) -> None:
        world.promise("internal")
        assert world.do(listener("internal", 7)).status == 201
        assert world.do(listener("internal", 7)).status == 200
        world.do(PromiseSettle("internal", "resolved"))
        assert [address for address, _ in world.unblocks] == [slot_address(7)]

    def test_there_is_always_room_for_it(self) -> None:
        limits = SHARDED.limits
        config = MachineConfig(sharded=True, limits=type(limits)(callbacks_max=1))
        world = World(config)
        world.promise("p", external="true")
        assert world.do(PromiseRegisterListener("p", "g")).status == 201
        assert world.do(PromiseRegisterListener("p", "h")).status == 400
        assert world.do(listener("p")).status == 201

    @pytest.mark.parametrize(
        "address", ["slot://256", "slot://-1", "slot://07", "slot://", "slot://x"]
    )
    def test_what_is_no_slot_is_no_address(self, world: World, address: str) -> None:
        world.promise("p", external="true")
        assert world.do(PromiseRegisterListener("p", address)).status == 400

    def test_only_settlements_are_announced_and_only_to_slots(self, world: World) -> None:
        pending = PromiseRecord("p", "pending", EMPTY, EMPTY, {}, START + 9, START)
        assert world.do(PromiseAnnounce(HERE, pending)).status == 400
        assert world.do(PromiseAnnounce(SLOTS, settled("p"))).status == 400
        assert world.do(PromiseAnnounce(-1, settled("p"))).status == 400


class TestCalls:
    def test_a_fence_concerns_one_slot(self, world: World) -> None:
        world.root("a")
        reply = world.do(TaskFence("a", 1, (create("a.1", START + 9), create(THERE, START + 9))))
        assert reply.status == 400
        assert "another slot" in (reply.error or "")
        assert "a.1" not in world.view.promises
        assert world.do(TaskFence("a", 1, ())).status == 200

    def test_a_call_of_another_slot_hears_of_its_caller(self, world: World) -> None:
        world.promise("b", branch="a", origin="a", parent="a.3", target="g")
        world.promise("b.2", branch="a", origin="a", target="g")
        assert world.machine.take_requests() == [
            listener("a", slot_of("b")),
            listener("a.3", slot_of("b")),
        ]
        world.commit()
        world.restart()
        assert {*world.machine.take_requests()} == {
            listener("a", slot_of("b")),
            listener("a.3", slot_of("b")),
        }

    def test_a_call_of_the_same_slot_and_a_detached_one_need_not(self, world: World) -> None:
        world.root("a")
        world.child("a", "a.1")
        world.promise("b", branch="a", scope="detached", target="g")
        assert world.machine.take_requests() == []
        world.commit()
        world.restart()
        assert world.machine.take_requests() == []

    def test_it_is_canceled_with_its_caller_and_so_is_all_below(self, world: World) -> None:
        world.promise("b", branch="a", origin="a", target="g")
        world.promise("b.1", branch="b", origin="a", target="g")
        world.promise("b.2", branch="b", origin="another", target="g")
        world.do(PromiseAnnounce(slot_of("b"), settled("a", "rejected_canceled")))
        assert world.state("b") == ("rejected_canceled", "fulfilled")
        assert world.state("b.1") == ("rejected_canceled", "fulfilled")
        assert world.state("b.2") == ("pending", "pending")

    @pytest.mark.parametrize("state", ["resolved", "rejected", "rejected_timedout"])
    def test_it_goes_on_if_its_caller_ends_otherwise(
        self, world: World, state: PromiseState
    ) -> None:
        world.promise("b", branch="a", origin="a", target="g")
        world.do(PromiseAnnounce(slot_of("b"), settled("a", state)))
        assert world.state("b") == ("pending", "pending")

    def test_calls_of_other_slots_than_the_one_that_hears_stay(self, world: World) -> None:
        world.promise("b", branch="a", origin="a", target="g")
        world.do(PromiseAnnounce(slot_of("c"), settled("a", "rejected_canceled")))
        assert world.state("b") == ("pending", "pending")

    def test_the_holder_of_the_caller_hears_of_a_call(self, world: World) -> None:
        world.root("a")
        world.do(PromiseAnnounce(HERE, settled("b", branch="a", origin="a")))
        assert [(each.promise.id, each.holder) for each in world.settled] == [("b", "n1")]

    def test_a_canceled_caller_owes_it_to_the_slots_that_listen(self, world: World) -> None:
        world.root("a")
        world.do(listener("a", 7))
        world.do(PromiseCancel("a"))
        assert [address for address, _ in world.unblocks] == [slot_address(7)]


class TestSchedules:
    MINUTE = 60_000

    def make(self, world: World, promise_id: str) -> None:
        made = world.do(ScheduleCreate("s", "* * * * *", promise_id, 1_000))
        assert made.status == 201

    def test_a_promise_of_another_slot_is_asked_for_one_after_the_other(self, world: World) -> None:
        self.make(world, "other.{timestamp}")
        first = world.view.schedules["s"].next_run_at
        world.advance(3 * self.MINUTE)
        for date in (first, first + self.MINUTE):
            world.settle_down()
            [asked] = world.machine.take_requests()
            assert isinstance(asked, PromiseOccur)
            assert (asked.schedule, asked.date, asked.id) == ("s", date, f"other.{date}")
            assert (asked.created_at, asked.timeout_at) == (date, date + 1_000)
            world.settle_down()
            assert world.machine.take_requests() == []
            assert world.do(asked).status == 201
            assert world.do(asked).status == 200
            assert world.record(f"other.{date}").created_at == date
            world.occurred("s", date)
            assert world.view.schedules["s"].last_run_at == date

    def test_those_of_its_own_slot_are_made_as_ever(self, world: World) -> None:
        self.make(world, "{id}.{timestamp}")
        first = world.view.schedules["s"].next_run_at
        world.advance(2 * self.MINUTE)
        world.settle_down()
        assert world.machine.take_requests() == []
        assert f"s.{first}" in world.view.promises

    def test_after_a_restart_it_is_asked_for_again(self, world: World) -> None:
        self.make(world, "other.{timestamp}")
        world.commit()
        world.advance(self.MINUTE)
        world.settle_down()
        [asked] = world.machine.take_requests()
        world.restart()
        world.settle_down()
        assert world.machine.take_requests() == [asked]

    def test_an_answer_that_comes_after_its_end_is_ignored(self, world: World) -> None:
        self.make(world, "other.{timestamp}")
        first = world.view.schedules["s"].next_run_at
        world.advance(self.MINUTE)
        world.settle_down()
        world.do(ScheduleDelete("s"))
        world.occurred("s", first)
        assert world.machine.state.schedules == {}

    def test_a_date_that_is_set_back_while_it_is_asked_for(self, world: World) -> None:
        self.make(world, "other.{timestamp}")
        first = world.view.schedules["s"].next_run_at
        world.advance(self.MINUTE)
        world.settle_down()
        world.follow(30 * self.MINUTE)
        world.occurred("s", first)
        assert world.machine.state.schedules["s"].last_run_at is None
        world.settle_down()

    def test_no_promise_is_created_later_than_now(self, world: World) -> None:
        late = PromiseOccur("s", 1, "p", START + 5_000, START + 6_000, EMPTY, {})
        assert world.do(late).status == 201
        assert world.record("p").created_at == START


class Slots(Walker):
    """A walk through a machine of all slots, with brokers that do as it asks, now or later."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, msgspec.structs.replace(CONFIG, sharded=True))
        self.requests: list[object] = []

    def step(self) -> None:
        super().step()
        self.requests += self.world.machine.take_requests()
        while self.requests and self.random.random() < 0.3:
            self.answer(self.requests.pop(self.random.randrange(len(self.requests))))
        self.announce(0.2)

    def answer(self, request: object) -> None:
        if isinstance(request, PromiseOccur):
            assert self.world.do(request).ok
            self.world.occurred(request.schedule, request.date)
            return
        assert isinstance(request, PromiseRegisterListener)
        reply = self.world.do(request)
        slot = slot_of_address(request.address)
        assert slot is not None
        if reply.status == 404:
            for task_id in self.world.machine.view.awaiters(request.awaited, slot):
                if self.world.task(task_id).state == "suspended":
                    self.world.do(TaskHalt(task_id))
            self.world.forget_ask(request.awaited, slot)
        elif reply.promise is not None and reply.promise.settled:
            self.world.do(PromiseAnnounce(slot, reply.promise))

    def announce(self, chance: float) -> None:
        for address, record in self.world.machine.owed_unblocks():
            slot = slot_of_address(address)
            if slot is not None and self.random.random() < chance:
                self.world.do(PromiseAnnounce(slot, record))
                if self.random.random() < 0.8 or chance == 1:
                    self.world.machine.acknowledge(record.id, address)

    def rest(self) -> None:
        """Let everything arrive."""
        self.requests += self.world.machine.take_requests()
        while self.requests:
            while self.requests:
                self.answer(self.requests.pop())
            self.announce(1)
            self.requests += self.world.machine.take_requests()
        self.announce(1)

    def check_rest(self) -> None:
        """Check that nobody waits for what is settled, or goes on below what is canceled."""
        promises, listeners = self.world.view.promises, self.world.view.listeners
        for task in self.world.view.tasks.values():
            address = slot_address(slot_of(task.id))
            if task.state == "suspended":
                assert all(address in listeners[each] for each in task.awaits), task
        for promise in promises.values():
            caller = promises.get(promise.tags.get("understudy:branch", ""))
            if caller is not None and caller.state == "rejected_canceled":
                if slot_of(caller.id) == slot_of(promise.id):
                    continue
                same = caller.tags.get("understudy:origin", caller.id) == promise.tags.get(
                    "understudy:origin", promise.id
                )
                attached = promise.tags.get("understudy:scope") != "detached"
                early = promise.created_at < (caller.settled_at or 0)
                assert not (same and attached and early) or promise.state != "pending", promise


@pytest.mark.parametrize("seed", range(40))
def test_every_property_holds_along_a_walk_between_slots(seed: int) -> None:
    walker = Slots(seed)
    for _ in range(400):
        walker.step()
    for restarts in (False, True):
        if restarts:
            walker.world.commit()
            walker.world.restart()
        walker.rest()
        walker.check_rest()
