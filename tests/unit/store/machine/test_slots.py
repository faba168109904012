"""Slots leave a machine and come back to it, at work."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
import pytest

from tests.unit.store.machine import properties_of_states
from tests.unit.store.machine.memory import armed, check_memory
from tests.unit.store.machine.properties import check_state, check_step
from tests.unit.store.machine.properties_of_steps import p27
from tests.unit.store.machine.test_walk import CONFIG, Walker
from tests.unit.store.machine.views import Step, View, view
from tests.unit.store.machine.world import START, Shelf, World, create
from understudy_store.changes import Snapshot
from understudy_store.commands import (
    PromiseGet,
    PromiseRegisterListener,
    PromiseSettle,
    ScheduleCreate,
    TaskSuspend,
)
from understudy_store.machine import Machine, MachineConfig
from understudy_store.machine.packed import all_promises
from understudy_store.machine.state import State, children_of
from understudy_store.machine.timers import Timers
from understudy_store.records import PENDING, TaskRecord
from understudy_store.slots import SLOTS, slot_of

ALL = range(SLOTS)
SOON = MachineConfig(retry_timeout_ms=1000, pack_after_ms=0)


def part(shelf: Shelf, slots: Collection[int]) -> Shelf:
    """What an engine has of these slots."""
    some = Shelf()
    some.now = shelf.now
    for name in ("rows", "schedules"):
        setattr(some, name, {k: v for k, v in getattr(shelf, name).items() if slot_of(k) in slots})
    for name in ("callbacks", "listeners", "unblocks"):
        keys = getattr(shelf, name)
        setattr(some, name, {key: None for key in keys if slot_of(key[0]) in slots})
    return some


def remembered(machine: Machine) -> dict[str, Any]:
    """All that is in memory, but for what a restart cannot know (see `recovery`).

    That is when leases end and offers are repeated, which node keeps an activation warm, which
    crashes may be retracted, and what is packed.
    """
    s = machine.state
    live = {p.record.id: p for p in all_promises(s) if p.record.state == PENDING}
    return {
        "promises": {key: p.record for key, p in live.items()},
        "stored": {key: p.stored for key, p in live.items()},
        "tasks": {key: _lasting(p.task.record(stored=True)) for key, p in live.items() if p.task},
        "callbacks": {key: set(p.callbacks) for key, p in live.items() if p.callbacks},
        "listeners": {key: set(p.listeners) for key, p in live.items() if p.listeners},
        "deadlines": armed(s.deadlines),
        "offers": armed(s.offers_due).keys(),
        "occurrences": armed(s.occurrences),
        "leases": {pid for pid in armed(s.leases) if s.holders[pid].held},
        "held": {pid: set(holder.held) for pid, holder in s.holders.items() if holder.held},
        "children": {key: set(children_of(s, key)) for key in s.children},
        "counts": {state: n for state, n in s.counts.items() if state != "fulfilled"},
        "pending": s.pending,
        "unblocks": s.unblocks,
        "schedules": s.schedules,
        "now": (s.now, s.ahead),
    }


def _lasting(task: TaskRecord) -> TaskRecord:
    return msgspec.structs.replace(task, expires_at=None)


def named(s: State, slots: Collection[int]) -> set[str]:
    """Every id of these slots that is left anywhere in memory, but for what others name."""
    ids = [
        *(*s.promises, *s.packed, *s.schedules, *s.pack_round, *s.idle, *s.idle_before, *s.pinned),
        *(*armed(s.deadlines), *armed(s.offers_due), *armed(s.occurrences), *s.leaving, *s.offers),
        *(id_ for holder in s.holders.values() for id_ in (*holder.held, *holder.warm)),
        *(id_ for above in s.children for id_ in children_of(s, above)),
        *(id_ for id_, _ in (*s.unblocks, *s.unblocks_new)),
    ]
    return {id_ for id_ in ids if slot_of(id_) in slots}


def leave(world: World, slots: Collection[int]) -> View:
    """Some slots leave; what stays is what a restart without them makes. Return the view of it."""
    world.commit()
    machine, staying = world.machine, part(world.shelf, set(ALL) - set(slots))
    machine.expel(slots)
    left = view(machine, staying.rows)
    p27(world.view, left, Step("expel", world.now, slots=frozenset(slots)))
    for check in properties_of_states.OF_A_PART:
        check(left)
    check_memory(machine.state)
    assert named(machine.state, slots) == set()
    alone = Machine(world.config)
    alone.restore(staying.snapshot(), machine.state.now, world.ahead)
    assert remembered(machine) == remembered(alone)
    return left


def come(world: World, slots: Collection[int], left: View) -> None:
    """They come back; all is as a restart would make it, and what stayed is as it was."""
    machine, before = world.machine, world.view
    machine.admit(part(world.shelf, slots).snapshot(), world.now)
    after = check_state(machine, world.shelf.rows)
    p27(left, after, Step("admit", world.now, slots=frozenset(slots)))
    whole = Machine(world.config)
    whole.restore(world.shelf.snapshot(), world.now, world.ahead)
    assert remembered(machine) == remembered(whole)
    # Nothing has happened but what happens at a restart, to those that were away.
    tasks = {
        key: msgspec.structs.replace(task, expires_at=-1)
        if task.pid is not None and slot_of(key) in slots
        else task
        for key, task in before.tasks.items()
    }
    check_step(msgspec.structs.replace(before, tasks=tasks), after, Step("restart", world.now))
    world.view = after
    written = dict(world.shelf.schedules)
    world.durable = world.departed = msgspec.structs.replace(after, schedules=written)


class Mover(Walker):
    """Now and then the slots of some of its ids leave and come back."""

    def step(self) -> None:
        world = self.world
        if self.random.random() > 0.06:
            super().step()
            return
        homes = sorted({id_.split(".")[0] for id_ in (*world.view.promises, *world.view.schedules)})
        some = self.random.sample(homes, self.random.randint(0, len(homes)))
        slots = {slot_of(home) for home in some}
        come(world, slots, leave(world, slots))


@pytest.mark.parametrize("seed", range(24))
def test_slots_that_leave_take_what_is_theirs_and_bring_it_back(seed: int) -> None:
    mover = Mover(seed)
    for _ in range(250):
        mover.step()
    world = mover.world
    come(world, ALL, leave(world, ALL))
    world.settle_down()
    world.commit()
    world.restart()
    world.settle_down()


def busy(config: MachineConfig = SOON) -> World:
    """Something of every kind, in the homes `a` and `b`."""
    world = World(config)
    for home in ("a", "b"):
        world.root(home, "n1")
        world.child(home, f"{home}.1")
        world.promise(f"{home}.t", 500, timer="true", origin=home, branch=home)
        world.root(f"{home}.held", "n2")
        world.do(TaskSuspend(home, 1, (f"{home}.1", f"{home}.t")))
        world.do(PromiseRegisterListener(home, "poll://any@g"))
        world.promise(f"{home}.x", external="true")
        world.do(PromiseRegisterListener(f"{home}.x", "poll://any@g"))
        world.do(PromiseSettle(f"{home}.x", "resolved"))
        world.do(ScheduleCreate(f"{home}.s", "* * * * *", "{id}.{timestamp}", 1000))
    world.sweep()
    world.commit()
    world.sweep()
    world.sweep()
    return world


def test_nothing_is_left_when_all_slots_leave() -> None:
    world = busy()
    # History that a command needs is in memory, too.
    world.machine.load(world.shelf.read(world.machine.lookups([PromiseGet("a.x")])))
    s = world.machine.state
    assert {"a", "b"} <= s.packed.keys()
    assert {"a.1", "b.held", "a.x"} <= s.promises.keys()
    world.machine.take_executes()
    world.machine.committed(world.machine.take())
    leave(world, ALL)
    kept = {"accepted", "config", "limits", "now", "ahead", "pack_round_at", "counts", "hosts"}
    left = {name: getattr(s, name) for name in State.__slots__ if name not in kept}
    for name, each in left.items():
        assert not (armed(each) if isinstance(each, Timers) else each), name
    assert s.counts == dict.fromkeys(s.counts, 0) | {"fulfilled": s.counts["fulfilled"]}


def test_what_stays_goes_on() -> None:
    world = busy()
    leave(world, {slot_of("a")})
    machine = world.machine
    machine.sweep(world.now + 500)
    assert [each.promise.id for each in machine.take_settled()] == ["b.t"]
    assert [each.id for each in machine.take_executes()] == ["b"]
    assert machine.apply(PromiseGet("a"), world.now).status == 404
    assert machine.view.held("n2") == [("b.held", 1)]


def test_leases_run_anew_and_what_is_due_is_offered_again() -> None:
    world = busy()
    slots = {slot_of("a")}
    left = leave(world, slots)
    world.advance(100)
    come(world, slots, left)
    assert world.task("a.held").expires_at == START + 100 + 5000
    assert world.task("b.held").expires_at == START + 5000
    world.executes.clear()
    world.sweep()
    assert [each.id for each in world.executes] == ["a.1"]
    assert sorted(record.id for _, record in world.machine.owed_unblocks()) == ["a.x", "b.x"]


def test_what_was_offered_and_not_handed_out_leaves_too() -> None:
    machine = Machine(CONFIG)
    for home in ("a", "b"):
        machine.apply(create(home, START + 10, target="g"), START)
    machine.sweep(START)
    machine.committed(machine.take())
    machine.expel([slot_of("a")])
    assert [each.id for each in machine.take_executes()] == ["b"]


def test_a_node_that_has_nothing_is_forgotten() -> None:
    world = busy()
    leave(world, {slot_of("a"), slot_of("b")})
    assert world.machine.state.holders == {}
    assert world.machine.next_due() is None


def test_slots_leave_between_batches_only() -> None:
    world = World()
    machine = world.machine
    machine.apply(create("a.1", START + 10, target="g"), START)
    with pytest.raises(AssertionError, match=r"changes of slots that are expelled.*'a.1'"):
        machine.expel([slot_of("a")])
    machine.expel([slot_of("b")])
    changes = machine.take()
    with pytest.raises(AssertionError, match="wait for its commit"):
        machine.expel([slot_of("a")])
    machine.committed(changes)
    machine.apply(PromiseSettle("a.1", "resolved"), START)
    machine.committed(machine.take())
    with pytest.raises(AssertionError, match=r"messages of slots.*'a.1'"):
        machine.expel([slot_of("a")])
    machine.take_settled()
    machine.expel([slot_of("a")])


def test_a_slot_is_admitted_once() -> None:
    for command in (
        create("a", START + 5),
        create("a", START + 5, target="g"),
        ScheduleCreate("a", "* * * * *", "{id}.{timestamp}", 1000),
    ):
        world = World()
        world.do(command)
        world.commit()
        with pytest.raises(AssertionError, match="a is in memory: a slot is admitted once"):
            world.machine.admit(world.shelf.snapshot(), world.now)


def test_time_goes_on_from_that_of_the_slots_that_come() -> None:
    machine = Machine(CONFIG)
    machine.admit(Snapshot(now=START), START - 5)
    assert machine.apply(create("a", START + 5), START - 5).promise
    assert machine.view.record("a").created_at == START  # type: ignore[union-attr]
