"""Batches of changes, history that comes and goes, and restarts."""

from __future__ import annotations

import pytest

from tests.unit.store.machine.world import START, World, create
from understudy_store.commands import (
    PromiseCancel,
    PromiseGet,
    PromiseRegisterCallback,
    PromiseRegisterListener,
    PromiseSearch,
    PromiseSettle,
    ScheduleGet,
    StoreCommand,
    TaskFence,
    TaskGet,
    TaskHeartbeat,
    TaskRelease,
    TaskSuspend,
)
from understudy_store.machine import Machine
from understudy_store.records import EMPTY, PromiseRecord, Row


def test_each_object_is_written_once_in_its_final_state() -> None:
    world = World()
    world.promise("a", target="g")
    world.acquire("a")
    world.child("a", "a.1")
    world.do(TaskSuspend("a", 1, ("a.1",)))
    world.do(PromiseSettle("a.1", "resolved"))
    changes = world.commit()
    assert [row.promise.id for row in changes.inserted] == ["a", "a.1"]
    assert not changes.updated
    assert changes.inserted[0].task == world.task("a")
    # the callback came and went within the batch
    assert (changes.callbacks_added, changes.callbacks_removed) == ([], [])
    assert changes.now == START
    assert not world.commit()


def test_later_batches_update() -> None:
    world = World()
    world.root("a")
    world.child("a", "a.1")
    world.do(PromiseRegisterListener("a.1", "c"))
    world.do(TaskSuspend("a", 1, ("a.1",)))
    first = world.commit()
    assert first.callbacks_added == [("a.1", "a")]
    assert first.listeners_added == [("a.1", "poll://any@c")]
    world.do(PromiseRegisterListener("a.1", "d"))
    world.do(PromiseSettle("a.1", "resolved"))
    second = world.commit()
    assert not second.inserted
    assert {row.promise.id for row in second.updated} == {"a", "a.1"}
    assert second.callbacks_removed == ["a.1"]
    assert (second.listeners_added, second.listeners_removed) == ([], ["a.1"])
    assert second.unblocks_added == [("a.1", "poll://any@c"), ("a.1", "poll://any@d")]


def test_settled_promises_stay_until_their_batch_is_durable() -> None:
    world = World()
    world.promise("p")
    world.do(PromiseSettle("p", "resolved"))
    world.depart()
    assert world.machine.lookups([PromiseGet("p")]) == set()
    assert world.do(PromiseGet("p")).status == 200
    world.land()
    world.commit()
    assert world.machine.lookups([PromiseGet("p")]) == {"p"}
    assert world.machine.view.statistics().promises_in_memory == 0


def test_a_commit_does_not_drop_what_a_batch_has_looked_up() -> None:
    """Between `lookups` and `apply` the engine reads, and an earlier batch may become durable."""
    machine = Machine()
    machine.apply(create("p", START + 9), START)
    machine.apply(PromiseSettle("p", "resolved"), START)
    flight = machine.take()
    command = create("p", START + 99)
    assert machine.lookups([command]) == set()
    machine.committed(flight)
    reply = machine.apply(command, START)
    assert (reply.status, reply.promise) == (200, flight.inserted[0].promise)
    assert not machine.take()
    assert machine.view.record("p") is None


def test_what_settles_in_flight_is_not_dropped_early() -> None:
    machine = Machine()
    machine.apply(create("p", START + 9), START)
    first = machine.take()
    machine.apply(PromiseSettle("p", "resolved"), START)
    machine.committed(first)
    assert machine.view.record("p") is not None
    second = machine.take()
    assert [row.promise.state for row in second.updated] == ["resolved"]
    machine.committed(second)
    assert machine.view.record("p") is None


def test_lookups_name_all_that_commands_touch() -> None:
    machine = Machine()
    machine.apply(create("here", START + 9), START)
    commands: list[StoreCommand] = [
        PromiseGet("a"),
        PromiseCancel("b"),
        TaskFence("c", 1, (create("d", 1), PromiseSettle("e", "resolved"))),
        TaskSuspend("f", 1, ("g", "here")),
        PromiseRegisterCallback("h", "i"),
        PromiseRegisterListener("j", "poll://x"),
        TaskGet("k"),
        TaskHeartbeat("n", (("z", 1),)),
        PromiseSearch(),
        ScheduleGet("z"),
    ]
    assert machine.lookups(commands) == set("abcdefghijk")


def test_guests_are_history_only() -> None:
    machine = Machine()
    pending = PromiseRecord("p", "pending", EMPTY, EMPTY, {}, 9, 1)
    with pytest.raises(AssertionError, match="always in memory"):
        machine.load([Row(pending)])
    machine.apply(create("q", START + 9), START)
    old = PromiseRecord("q", "resolved", EMPTY, EMPTY, {}, 9, 1, 2)
    machine.load([Row(old)])
    q = machine.view.record("q")
    assert q is not None
    assert q.state == "pending"


# ---- restart ------------------------------------------------------------------------------------


def test_a_restart_goes_on_where_it_was() -> None:
    world = World()
    world.root("a")
    world.child("a", "a.1")
    world.child("a", "a.2")
    world.acquire("a.2", "n2", ttl=50)
    world.promise("x", 10, external="true")
    world.do(PromiseRegisterListener("x", "c"))
    world.do(TaskSuspend("a", 1, ("a.1", "x")))
    world.settle_down()
    world.commit()
    world.executes.clear()
    world.advance(40)
    world.restart()
    # leases run on: a renewal was in memory only
    assert world.task("a.2").expires_at == world.now + 50
    # a deadline that came due is for the sweep
    assert world.record("x").state == "pending"
    world.settle_down()
    assert world.record("x").state == "rejected_timedout"
    assert world.unblocks == [("poll://any@c", world.record("x"))]
    assert world.task("a").resumes == ("x",)
    assert {(e.id, e.version, e.warm) for e in world.executes} == {("a", 1, None), ("a.1", 0, None)}
    assert world.machine.view.held("n2") == [("a.2", 1)]
    world.do(PromiseCancel("a"))
    assert world.record("a.1").state == world.record("a.2").state == "rejected_canceled"


def test_an_offer_that_was_made_is_made_again_after_a_restart() -> None:
    world = World()
    world.root("a")
    world.child("a", "a.1")
    world.promise("x", external="true")
    world.do(TaskSuspend("a", 1, ("a.1", "x")))
    world.do(PromiseSettle("x", "resolved"))
    world.settle_down()
    # written after the offer, yet it is due as before
    world.do(PromiseSettle("a.1", "resolved"))
    world.commit()
    world.restart()
    world.executes.clear()
    world.settle_down()
    assert [(e.id, e.version) for e in world.executes] == [("a", 1)]
    assert world.task("a").resumes == ("x", "a.1")


def test_what_was_not_written_is_gone_and_versions_are_safe() -> None:
    world = World()
    world.promise("a", target="g")
    world.commit()
    world.acquire("a", "n1")
    world.depart()
    world.restart()
    assert world.task("a").version == 0
    world.acquire("a", "n2")
    world.commit()
    assert world.issued == {("a", 1): "n2"}


def test_a_restart_issues_no_version_twice() -> None:
    world = World()
    world.promise("a", target="g")
    for version in (1, 2, 3):
        world.acquire("a", f"n{version}", version - 1)
        world.do(TaskRelease("a", version))
    world.commit()
    world.restart()
    world.acquire("a", "n4", 3)
    assert world.task("a").version == 4


def test_the_clock_goes_on_from_what_was_written() -> None:
    world = World()
    world.promise("p", 100)
    world.advance(50)
    world.promise("q", 100)
    world.commit()
    machine = Machine()
    machine.restore(world.shelf.snapshot(), START)
    machine.apply(create("r", START + 500), START)
    r = machine.view.record("r")
    assert r is not None
    assert r.created_at == START + 50
