"""Promises at rest are kept as bytes, and nobody can tell."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.store.machine import strategies
from tests.unit.store.machine.test_walk import CONFIG, Walker
from tests.unit.store.machine.world import START, World, create
from understudy_store.changes import Snapshot
from understudy_store.commands import (
    PromiseCancel,
    PromiseGet,
    PromiseRegisterListener,
    PromiseSettle,
    TaskSuspend,
)
from understudy_store.machine import Machine, MachineConfig
from understudy_store.machine.packed import all_promises, is_idle, pack, unpack
from understudy_store.pending_row import PendingRow, task_to_values, to_pending_row
from understudy_store.records import EMPTY, PENDING, Row, TaskRecord, Value

SOON = MachineConfig(retry_timeout_ms=1000, pack_after_ms=0)
NEVER = 2**62


def asleep(world: World) -> None:
    """`a`, of node n1, sleeps until its timer rings; all of it is cold."""
    world.root("a", "n1")
    world.promise("a.t", 500, timer="true", origin="a", branch="a")
    world.do(TaskSuspend("a", 1, ("a.t",)))
    world.do(PromiseRegisterListener("a", "poll://any@g"))
    world.commit()
    cool(world)
    assert set(world.machine.state.packed) == {"a", "a.t"}


def cool(world: World) -> None:
    """Two rounds: seen at rest, and seen so again."""
    world.sweep()
    world.sweep()


@given(
    strategies.rows("p"),
    st.lists(strategies.ids, unique=True),
    st.lists(strategies.addresses, unique=True),
)
def test_bytes_hold_all_that_there_is(row: Row, callbacks: list[str], listeners: list[str]) -> None:
    pending = msgspec.structs.replace(row.promise, state=PENDING, value=EMPTY, settled_at=None)
    task = row.task
    if task is not None:
        # Only an idle promise is packed, and only tasks of other states have these values.
        state = task.state if is_idle(task.state) else "suspended"
        task = msgspec.structs.replace(
            task, state=state, pid=None, ttl=None, expires_at=None, retry_at=None
        )
    row = Row(pending, task)
    warm = None if task is None else "n#1"
    packed = pack(to_pending_row(row), callbacks, listeners, warm)
    promise = unpack(row.promise.id, packed)
    assert promise.record == row.promise
    assert (promise.task and promise.task.record()) == task
    assert (promise.task and promise.task.warm) == warm
    assert list(promise.callbacks or ()) == callbacks
    assert list(promise.listeners or ()) == listeners
    assert promise.stored


@pytest.mark.parametrize("seed", range(12))
def test_a_machine_that_cools_does_what_one_does_that_never_does(seed: int) -> None:
    packing = Walker(seed, msgspec.structs.replace(CONFIG, pack_after_ms=0))
    never = Walker(seed, msgspec.structs.replace(CONFIG, pack_after_ms=NEVER))
    most = 0
    for _ in range(400):
        packing.step()
        never.step()
        assert packing.world.view == never.world.view
        assert packing.world.machine.next_due() == never.world.machine.next_due()
        most = max(most, len(packing.world.machine.state.packed))
    for seen in ("executes", "settled", "revoked", "unblocks", "issued"):
        assert getattr(packing.world, seen) == getattr(never.world, seen)
    assert most > 0


def test_what_sleeps_is_cold_after_two_rounds_and_no_sooner() -> None:
    world = World(MachineConfig(pack_after_ms=100))
    world.promise("p", 100_000)
    world.sweep()
    world.commit()
    world.advance(99)
    world.sweep()
    assert not world.machine.state.packed, "it was not yet stored in the first round"
    world.advance(1)
    world.sweep()
    world.advance(100)
    world.sweep()
    assert set(world.machine.state.packed) == {"p"}
    assert world.do(PromiseGet("p")).promise == world.record("p")
    assert set(world.machine.state.promises) == {"p"}, "who is asked for is warm"


def test_what_ran_between_two_rounds_stays_warm() -> None:
    world = World(SOON)
    world.root("a", "n1")
    for version, timer in enumerate(("a.t", "a.u"), 1):
        world.promise(timer, 500 * version, timer="true", origin="a", branch="a")
        world.do(TaskSuspend("a", version, (timer,)))
        world.commit()
        world.sweep()
        assert "a" not in world.machine.state.packed, "it is not as the round before has seen it"
        if version == 1:
            world.do(PromiseSettle(timer, "resolved"))
            world.acquire("a", "n1", version)
    world.sweep()
    assert set(world.machine.state.packed) == {"a", "a.u"}


def test_what_a_node_has_or_is_to_get_stays_warm() -> None:
    world = World(SOON)
    world.root("a", "n1")
    world.promise("b", target="g")
    world.commit()
    cool(world)
    cool(world)
    assert not world.machine.state.packed


def test_a_timer_rings_in_the_cold() -> None:
    world = World(SOON)
    asleep(world)
    world.advance(500)
    world.sweep()
    assert world.state("a.t") == ("resolved", None)
    assert world.state("a") == (PENDING, "pending")
    assert [(e.id, e.warm) for e in world.executes] == [("a", "n1")]
    world.acquire("a", "n1", 1)
    world.fulfill("a", 2)
    assert [(address, p.id) for address, p in world.unblocks] == [("poll://any@g", "a")]


def test_cancel_reaches_what_is_cold() -> None:
    world = World(SOON)
    asleep(world)
    world.do(PromiseCancel("a", Value({})))
    assert world.state("a") == ("rejected_canceled", "fulfilled")
    assert world.state("a.t") == ("rejected_canceled", None)
    assert [(r.pid, r.reason) for r in world.revoked] == [("n1", "canceled")]


def test_a_node_that_leaves_is_forgotten_by_what_is_cold() -> None:
    world = World(SOON)
    asleep(world)
    assert world.release("n1", keep=[("a", 1)]) == []
    assert world.machine.state.holders.keys() == {"n1"}
    cool(world)
    assert world.release("n1") == []
    assert not world.machine.state.holders


def test_the_child_of_what_is_cold_tells_its_node() -> None:
    world = World(SOON)
    world.root("a", "n1")
    world.child("a", "a.1")
    world.promise("a.t", 5_000, timer="true", origin="a", branch="a")
    world.do(TaskSuspend("a", 1, ("a.t",)))
    world.commit()
    cool(world)
    assert "a" in world.machine.state.packed
    world.do(PromiseSettle("a.1", "resolved"))
    assert [(each.promise.id, each.holder) for each in world.settled] == [("a.1", "n1")]


def test_counted_and_listed_alike() -> None:
    world = World(SOON)
    asleep(world)
    world.promise("q", 9_000)
    statistics = world.machine.view.statistics()
    assert (statistics.promises_pending, statistics.promises_in_memory) == (3, 3)
    assert statistics.tasks_suspended == 1
    assert {record.id for record in world.machine.view.records()} == {"a", "a.t", "q"}
    assert world.machine.lookups([PromiseGet("a"), PromiseGet("z")]) == {"z"}
    assert len(world.machine.state.packed) == 2, "looking from outside warms nothing"


def test_a_round_looks_at_all_of_many_a_part_at_a_time() -> None:
    machine = Machine(SOON)
    for n in range(2_500):
        machine.apply(create(f"p{n}", START + 10**6), START)
    machine.committed(machine.take())
    sizes = []
    for _ in range(7):
        machine.sweep(START)
        sizes.append(len(machine.state.packed))
    assert sizes == [0, 0, 0, 1000, 2000, 2500, 2500]
    assert len(list(all_promises(machine.state))) == 2_500


def sleeping(count: int) -> Snapshot:
    """Functions that sleep: each a suspended task, its sleep, and a callback."""
    live = []
    for n in range(count):
        root = f"order-{n:06}"
        live.append(
            PendingRow(
                root,
                '{"fn":"nap","kind":"rpc"}',
                b"\x90",
                '{"understudy:target":"poll://any@shop"}',
                START + 10**9 + n,
                START,
                task=task_to_values(TaskRecord(root, "suspended", 1, "poll://any@shop")),
            )
        )
        tags = (
            '{"understudy:timer":"true",'
            f'"understudy:origin":"{root}","understudy:branch":"{root}"}}'
        )
        headers = '{"kind":"sleep","at":"app.py:50"}'
        live.append(PendingRow(f"{root}.1", headers, None, tags, START + 10**6 + n, START, root))
    callbacks = [(f"order-{n:06}.1", f"order-{n:06}") for n in range(count)]
    return Snapshot(START, live, callbacks)


def test_a_sleeping_function_takes_less_than_a_kibibyte_after_a_restart() -> None:
    count = 5_000
    machine = Machine()
    snapshot = sleeping(count)
    tracemalloc.start()
    try:
        machine.restore(snapshot, START)
        each = tracemalloc.get_traced_memory()[0] / count
    finally:
        tracemalloc.stop()
    assert machine.view.statistics().tasks_suspended == count
    # the ids are the snapshot's, and traced by nobody: some 150 bytes
    assert each < 1024 - 150
    machine.sweep(START + 10**6 + count)
    assert machine.view.statistics().tasks_pending == count
    task = machine.view.task("order-000007")
    assert isinstance(task, TaskRecord)
    assert task.resumes == ("order-000007.1",)
