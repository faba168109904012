"""Commands of tasks under way: fences, and suspending until something settles."""

from __future__ import annotations

import pytest

from tests.unit.store.machine.world import START, World, create
from understudy_store.commands import (
    PromiseCreate,
    PromiseRegisterCallback,
    PromiseSettle,
    TaskFence,
    TaskHeartbeat,
    TaskSuspend,
)
from understudy_store.limits import Limits
from understudy_store.machine import MachineConfig
from understudy_store.records import TAG_BRANCH, Value

ONE = Value({}, b"1")


@pytest.fixture
def world() -> World:
    return World()


def test_a_fence_answers_only_what_is_not_as_asked(world: World) -> None:
    world.root("a")
    world.promise("old")
    world.promise("done", 0)
    reply = world.do(
        TaskFence(
            "a",
            1,
            (
                create("a.1", START + 9, target="g"),
                create("old", START + 9),
                PromiseSettle("a.1", "resolved", ONE),
                PromiseSettle("a.1", "resolved", ONE),
                create("bad", START + 9, target="no name"),
                PromiseSettle("none", "resolved"),
                create("late", START, scope="local"),
                create("a.2", START + 9),
            ),
        )
    )
    assert (reply.status, reply.now) == (200, START)
    assert reply.replies is not None
    statuses = [each and each.status for each in reply.replies]
    assert statuses == [None, 200, None, 200, 400, 404, 201, None]
    assert reply.replies[1] is not None
    assert reply.replies[1].promise == world.record("old")
    assert reply.replies[6] is not None
    assert reply.replies[6].promise == world.record("late")
    assert world.record("a.1").value == ONE


def test_what_a_fence_creates_is_under_its_task(world: World) -> None:
    world.root("a")
    world.root("b")
    named = PromiseCreate("a.1", START + 9, tags={TAG_BRANCH: "a"})
    other = PromiseCreate("a.2", START + 9, tags={TAG_BRANCH: "b"})
    reply = world.do(TaskFence("a", 1, (named, other, PromiseCreate("a.3", START + 9))))
    assert reply.replies is not None
    assert [each and each.status for each in reply.replies] == [None, 400, None]
    assert world.record("a.1").tags == world.record("a.3").tags == {TAG_BRANCH: "a"}


def test_a_fence_on_its_own_id_does_nothing_at_all(world: World) -> None:
    world.root("a")
    for own in (PromiseSettle("a", "resolved"), create("a", START + 9)):
        assert world.do(TaskFence("a", 1, (create("b", START + 9), own))).status == 400
    assert list(world.view.promises) == ["a"]


def test_a_fence_has_a_bound() -> None:
    world = World(MachineConfig(limits=Limits(batch_max=1)))
    world.root("a")
    one = create("b", START + 9)
    assert world.do(TaskFence("a", 1, (one, one))).status == 400
    assert world.do(TaskFence("a", 1, (one,))).status == 200
    assert world.do(TaskSuspend("a", 1, ("x", "y"))).status == 400
    assert world.do(TaskHeartbeat("n1", (("a", 1), ("b", 1)))).status == 400


def test_suspend_and_resume(world: World) -> None:
    world.root("a")
    world.child("a", "a.1")
    world.child("a", "a.2")
    assert world.do(TaskSuspend("a", 1, ("a.1", "a.2"))).status == 200
    assert world.state("a") == ("pending", "suspended")
    assert world.machine.view.held("n1") == []
    world.do(PromiseSettle("a.2", "rejected"))
    world.do(PromiseSettle("a.1", "resolved"))
    task = world.task("a")
    assert (task.state, task.version, task.retry_at, task.resumes) == (
        "pending",
        1,
        START,
        ("a.2", "a.1"),
    )


def test_suspend_on_something_settled_is_300(world: World) -> None:
    world.root("a")
    world.child("a", "a.1")
    world.promise("x", external="true")
    world.promise("y", external="true")
    world.do(PromiseRegisterCallback("x", "a"))
    world.do(PromiseSettle("x", "resolved"))
    world.commit()
    reply = world.do(TaskSuspend("a", 1, ("a.1", "x", "y")))
    assert reply.status == 300
    assert reply.promises == [world.record("x")]
    assert world.state("a") == ("pending", "acquired")
    assert world.task("a").resumes == ()
    assert not world.view.callbacks
    changes = world.commit()
    assert [row.task for row in changes.updated] == [world.task("a")]


def test_what_settled_while_it_ran_is_written_and_forgotten_when_it_suspends(world: World) -> None:
    world.root("a")
    world.promise("x", external="true")
    world.promise("y", external="true")
    world.do(PromiseRegisterCallback("x", "a"))
    world.commit()
    world.do(PromiseSettle("x", "resolved"))
    changes = world.commit()
    assert [row.task.resumes for row in changes.updated if row.task is not None] == [("x",)]
    assert world.do(TaskSuspend("a", 1, ("y",))).status == 200
    assert world.task("a").resumes == ()


def test_suspend_on_something_overdue_is_300(world: World) -> None:
    world.root("a")
    world.child("a", "a.1", ms=10)
    world.advance(10)
    reply = world.do(TaskSuspend("a", 1, ("a.1",)))
    assert (reply.status, reply.promises) == (300, [world.record("a.1")])


def test_suspend_refuses_and_leaves_nothing_half_done(world: World) -> None:
    world.root("a")
    world.promise("x", external="true")
    world.promise("plain")
    world.promise("done", 0, external="true")
    for awaited, status in (
        ((), 400),
        (("x", "x"), 400),
        (("x", "a"), 400),
        (("x", "none"), 422),
        (("done", "none"), 422),
        (("x", "plain"), 422),
        (("done", "plain"), 422),
    ):
        assert world.do(TaskSuspend("a", 1, awaited)).status == status
        assert world.state("a") == ("pending", "acquired")
        assert not world.view.callbacks


def test_a_callback_that_is_there_already_is_not_added_twice(world: World) -> None:
    world.root("a")
    world.promise("x", external="true")
    world.do(PromiseRegisterCallback("x", "a"))
    world.commit()
    assert world.do(TaskSuspend("a", 1, ("x",))).status == 200
    assert world.commit().callbacks_added == []
