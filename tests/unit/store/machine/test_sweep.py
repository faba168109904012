"""Own transitions: deadlines, leases, offers; and nodes that are gone."""

from __future__ import annotations

from tests.unit.store.machine.world import CONFIG, START, World, create
from understudy_store.commands import (
    PromiseGet,
    PromiseRegisterCallback,
    PromiseSettle,
    TaskHalt,
    TaskHeartbeat,
    TaskSuspend,
)
from understudy_store.machine import Machine, MachineConfig, Revocation, Statistics


def test_an_empty_machine_has_nothing_to_do() -> None:
    machine = Machine()
    assert machine.next_due() is None
    assert not machine.sweep(START)
    assert not machine.take()
    assert machine.view.statistics().timers_armed == 0


def test_deadlines() -> None:
    world = World()
    world.promise("p", 10)
    world.promise("t", 20, timer="true")
    assert world.machine.next_due() == START + 10
    world.advance(15)
    world.settle_down()
    assert world.state("p") == ("rejected_timedout", None)
    assert world.state("t") == ("pending", None)
    world.advance(100)
    world.settle_down()
    assert world.record("t").state == "resolved"
    assert world.record("t").settled_at == START + 20
    assert world.machine.next_due() is None


def test_an_awaiter_past_its_own_deadline_is_settled_and_not_resumed() -> None:
    """Property 14, the case that everyone forgets."""
    world = World()
    world.root("a", ms=10)
    world.promise("x", 10_000, external="true")
    world.do(TaskSuspend("a", 1, ("x",)))
    world.promise("b", 10_000, target="g")
    world.acquire("b")
    world.do(PromiseRegisterCallback("a", "b"))
    world.advance(10)
    # no sweep has looked at "a" yet: the settlement of "x" must
    world.do(PromiseSettle("x", "resolved"))
    assert world.state("a") == ("rejected_timedout", "fulfilled")
    assert world.record("a").settled_at == START + 10
    assert world.task("a").resumes == ()
    # and those who wait for it hear in the same transaction
    assert world.task("b").resumes == ("a",)
    world.settle_down()
    assert not world.executes
    assert world.revoked == [Revocation("n1", "a", 1, "deadline")]


def test_a_chain_of_thousands_past_its_deadline_falls_at_once() -> None:
    world, depth = World(), 5000
    machine = world.machine
    for each in range(depth):
        machine.apply(create(str(each), START + 10 + (each == 0), target="g"), START)
        if each:
            done = machine.apply(PromiseRegisterCallback(str(each - 1), str(each)), START)
            assert done.status == 201
    # the first settles by a client in time, all above it are overdue
    machine.apply(PromiseSettle("0", "resolved"), START + 10)
    assert machine.view.statistics().promises_pending == 0
    top = machine.view.record(str(depth - 1))
    assert top is not None
    assert top.settled_at == START + 10


def test_a_lease_that_ends_returns_the_task() -> None:
    world = World()
    world.root("a", ttl=50)
    world.advance(49)
    world.settle_down()
    assert world.task("a").state == "acquired"
    assert world.machine.next_due() == START + 50
    world.advance(1)
    world.settle_down()
    task = world.task("a")
    assert (task.state, task.version) == ("pending", 1)
    assert world.revoked == [Revocation("n1", "a", 1, "lease")]
    assert [(e.id, e.version, e.warm) for e in world.executes] == [("a", 1, None)]
    assert world.acquire("a", "n2", 1).status == 200


def test_a_renewed_lease_does_not_end() -> None:
    world = World()
    world.root("a", ttl=50)
    world.root("b", ttl=80)
    for _ in range(10):
        world.advance(30)
        world.do(TaskHeartbeat("n1", (("a", 1),)))
        world.settle_down()
    assert [world.task(each).state for each in "ab"] == ["acquired", "pending"]


def test_leases_of_different_lengths_end_each_in_its_time() -> None:
    world = World()
    world.root("long", ttl=100)
    world.root("short", ttl=10)
    world.advance(10)
    world.settle_down()
    assert [world.task(each).state for each in ("long", "short")] == ["acquired", "pending"]
    world.advance(90)
    world.settle_down()
    assert world.task("long").state == "pending"


def test_an_offer_is_repeated_and_not_written() -> None:
    world = World()
    world.promise("a", target="g")
    world.settle_down()
    world.settle_down()
    assert len(world.executes) == 1
    world.commit()
    assert world.machine.next_due() == START + CONFIG.retry_timeout_ms
    world.advance(CONFIG.retry_timeout_ms)
    world.settle_down()
    assert len(world.executes) == 2
    assert not world.commit()


def test_what_is_no_longer_pending_is_not_offered() -> None:
    machine = Machine()
    machine.apply(create("a", START + 9, target="g"), START)
    machine.apply(create("b", START + 9, target="g"), START)
    machine.sweep(START)
    machine.apply(TaskHalt("a"), START)
    assert [e.id for e in machine.take_executes()] == ["b"]
    assert machine.take_executes() == []


def test_a_sweep_is_bounded_and_says_that_more_is_due() -> None:
    world = World(MachineConfig(sweep_max=2))
    for each in range(5):
        world.promise(f"p{each}", 10)
        world.promise(f"t{each}", target="g")
        world.root(f"l{each}", ttl=10)
    world.advance(10)
    rounds = 1
    while world.sweep():
        rounds += 1
    # 5 deadlines, 5 leases, and 10 offers
    assert rounds == 10
    assert len(world.executes) == 10


def test_the_clock_never_goes_backwards() -> None:
    world = World()
    world.promise("p", 10)
    machine = world.machine
    machine.sweep(START + 5)
    machine.apply(create("q", START + 20), START - 100)
    q = machine.view.record("q")
    assert q is not None
    assert q.created_at == START + 5
    machine.sweep(START + 10)
    late = machine.apply(PromiseGet("p"), START).promise
    assert late is not None
    assert late.state == "rejected_timedout"


# ---- a node is gone -----------------------------------------------------------------------------


def test_release_pid_returns_all_that_it_holds() -> None:
    world = World()
    world.root("a")
    world.root("b")
    world.root("c", "n2")
    world.root("over", ms=5)
    world.advance(5)
    assert world.release("n1") == ["a", "b"]
    assert world.state("over") == ("rejected_timedout", "fulfilled")
    task = world.task("a")
    assert (task.state, task.version, task.retry_at) == ("pending", 1, START + 5)
    assert world.machine.view.held("n1") == []
    assert world.machine.view.held("n2") == [("c", 1)]
    world.settle_down()
    assert [(e.id, e.warm) for e in world.executes] == [("a", None), ("b", None)]
    assert world.revoked == [Revocation("n1", "over", 1, "deadline")]
    assert world.release("nobody") == []


def test_release_pid_keeps_what_a_reconnected_node_claims() -> None:
    world = World()
    for each in ("a", "b", "s1", "s2"):
        world.root(each)
    world.promise("x", external="true")
    world.do(TaskSuspend("s1", 1, ("x",)))
    world.do(TaskSuspend("s2", 1, ("x",)))
    assert world.release("n1", [("a", 1), ("b", 0), ("s1", 1), ("none", 1)]) == ["b"]
    assert world.machine.view.held("n1") == [("a", 1)]
    world.do(PromiseSettle("x", "resolved"))
    world.sweep()
    assert {(e.id, e.warm) for e in world.executes} == {("b", None), ("s1", "n1"), ("s2", None)}


def test_a_node_that_has_nothing_is_forgotten() -> None:
    world = World()
    world.root("a")
    world.fulfill("a")
    world.root("b")
    world.release("n1")
    assert not world.machine.state.holders
    assert world.machine.view.statistics().timers_armed == 2


def test_statistics_count() -> None:
    world = World()
    world.root("a")
    world.root("b")
    world.promise("x", external="true")
    world.do(TaskSuspend("b", 1, ("x",)))
    world.promise("c", target="g")
    world.promise("h", target="g")
    world.do(TaskHalt("h"))
    world.promise("done", 0)
    assert world.machine.view.statistics() == Statistics(
        promises_pending=5,
        promises_in_memory=6,
        tasks_pending=1,
        tasks_acquired=1,
        tasks_suspended=1,
        tasks_halted=1,
        schedules=0,
        unblocks_owed=0,
        timers_armed=5 + 1 + 1,
    )
