"""Deaths: what counts as one, what ends the row, and what a park is."""

from __future__ import annotations

import pytest

from tests.unit.store.machine.world import START, World, create
from understudy_store.commands import (
    PromiseCancel,
    TaskContinue,
    TaskFence,
    TaskHalt,
    TaskHeartbeat,
    TaskRelease,
    TaskSuspend,
)
from understudy_store.machine.crash_counts import RETRACTABLE_MAX
from understudy_store.moments import moment


@pytest.fixture
def world() -> World:
    """Task a is held by n1."""
    world = World()
    world.root("a", ms=1_000_000)
    return world


def die(world: World, times: int = 1, *, presumed: bool = False) -> None:
    """The holder of a vanishes, and the next takes it."""
    for _ in range(times):
        world.release("n1", crash="n1 is gone", presumed=presumed)
        world.acquire("a", version=world.task("a").version)


def stored(world: World) -> None:
    """What is written is what is known."""
    world.commit()
    assert world.shelf.rows["a"].task == world.task("a")


def counted(world: World) -> tuple[int, str | None]:
    task = world.task("a")
    return task.deaths, task.cause


def test_a_holder_that_vanishes_counts_for_all_that_it_held(world: World) -> None:
    world.root("b")
    world.root("c", pid="n2")
    world.release("n1", crash="n1 is gone")
    assert counted(world) == (1, "n1 is gone, 1970-01-01 00:16:40 UTC")
    assert [world.task(key).deaths for key in "abc"] == [1, 1, 0]
    world.settle_down()
    assert [(each.id, each.crash_count) for each in world.executes] == [("a", 1), ("b", 1)]


def test_a_lease_that_lapses_counts(world: World) -> None:
    world.advance(5000)
    world.settle_down()
    assert counted(world) == (1, "n1 fell silent, its lease lapsed, 1970-01-01 00:16:45 UTC")


def test_leaving_in_order_and_a_restart_of_the_broker_do_not_count(world: World) -> None:
    world.release("n1")
    world.acquire("a", version=1)
    world.commit()
    world.restart()
    world.release("n1", keep=[("a", 2)], crash="not this one")
    assert counted(world) == (0, None)


def test_deaths_add_up_and_survive_a_restart(world: World) -> None:
    die(world, 2)
    world.advance(1000)
    die(world)
    world.commit()
    world.restart()
    assert counted(world) == (3, "n1 is gone, 1970-01-01 00:16:41 UTC")


def test_a_step_that_is_stored_ends_the_row(world: World) -> None:
    step = create("a.1", START + 9000, scope="local", origin="a", branch="a")
    assert world.do(TaskFence("a", 1, (step,))).replies == [None]
    die(world, 2)
    # a replay asks for what is there: that is no progress
    again = world.do(TaskFence("a", 3, (step,))).replies
    assert again is not None
    assert again[0] is not None
    assert counted(world)[0] == 2
    stored(world)
    new = create("a.2", START + 9000, scope="local", origin="a", branch="a")
    world.do(TaskFence("a", 3, (step, new)))
    assert counted(world) == (0, None)
    stored(world)


def test_the_end_of_something_it_called_ends_the_row(world: World) -> None:
    world.child("a", "a.1")
    world.child("a", "a.2")
    world.acquire("a.1", "n2")
    die(world, 2)
    world.fulfill("a.1")
    assert counted(world) == (0, None)
    die(world)
    world.do(TaskHalt("a", "enough"))
    world.acquire("a.2", "n2")
    world.fulfill("a.2")
    assert counted(world) == (1, "enough")


def test_a_suspend_ends_the_row_and_one_that_does_not_wait_does_not(world: World) -> None:
    world.promise("x", external="true")
    world.promise("y", 1, external="true")
    world.advance(1)
    die(world)
    assert world.do(TaskSuspend("a", 2, ("y",))).status == 300
    assert counted(world)[0] == 1
    assert world.do(TaskSuspend("a", 2, ("x",))).status == 200
    assert counted(world) == (0, None)


def test_giving_it_back_ends_the_row_and_renewing_does_not(world: World) -> None:
    die(world)
    world.do(TaskHeartbeat("n1"))
    assert counted(world)[0] == 1
    world.do(TaskRelease("a", 2, failed=True))
    assert counted(world) == (0, None)


def test_a_park_keeps_its_cause_until_the_task_is_continued(world: World) -> None:
    die(world, 3)
    world.release("n1")
    world.do(TaskHalt("a", "three are gone"))
    world.commit()
    world.restart()
    assert world.state("a") == ("pending", "halted")
    assert counted(world) == (3, "three are gone")
    world.do(TaskHalt("a", "another reason"))
    assert counted(world) == (3, "three are gone")
    assert world.do(TaskContinue("a")).status == 200
    assert world.state("a") == ("pending", "pending")
    assert counted(world) == (0, None)


def test_how_it_ended_keeps_what_is_known(world: World) -> None:
    die(world)
    world.do(TaskHalt("a", "enough"))
    world.do(PromiseCancel("a"))
    assert world.state("a") == ("rejected_canceled", "fulfilled")
    assert counted(world) == (1, "enough")
    world.commit()
    assert world.shelf.rows["a"].task == world.task("a")


@pytest.mark.parametrize("cause", ["x" * 4097, "a\0b"])
def test_a_cause_is_a_text_of_some_length(world: World, cause: str) -> None:
    assert world.do(TaskHalt("a", cause)).status == 400
    assert world.state("a") == ("pending", "acquired")


def test_who_comes_back_alive_has_not_died_of_it(world: World) -> None:
    die(world, 2)
    die(world, presumed=True)
    assert counted(world)[0] == 3
    # another version, another node: not what was held against it
    world.retract_crashes("n1", [("a", 1), ("a", 4), ("none", 1)])
    world.retract_crashes("n2", [("a", 3)])
    assert counted(world)[0] == 3
    stored(world)
    world.retract_crashes("n1", [("a", 3)])
    world.retract_crashes("n1", [("a", 3)])
    assert counted(world)[0] == 2
    world.commit()
    world.restart()
    assert counted(world)[0] == 2


def test_each_of_several_takes_its_own_back(world: World) -> None:
    die(world, 3, presumed=True)
    world.retract_crashes("n1", [("a", 1)])
    assert counted(world)[0] == 2
    die(world)
    world.retract_crashes("n1", [("a", 3)])
    world.retract_crashes("n1", [("a", 3)])
    assert counted(world)[0] == 2
    world.retract_crashes("n1", [("a", 2)])
    world.retract_crashes("n1", [("a", 4)])
    assert counted(world)[0] == 1


def test_doubts_are_bounded(world: World) -> None:
    die(world, RETRACTABLE_MAX + 1, presumed=True)
    world.retract_crashes("n1", [("a", 1)])
    assert counted(world)[0] == RETRACTABLE_MAX + 1
    world.retract_crashes("n1", [("a", 2)])
    assert counted(world)[0] == RETRACTABLE_MAX


def test_the_only_death_taken_back_leaves_no_cause(world: World) -> None:
    die(world, presumed=True)
    world.retract_crashes("n1", [("a", 1)])
    assert counted(world) == (0, None)


def test_what_is_parked_stays_so_though_the_last_comes_back(world: World) -> None:
    die(world, presumed=True)
    world.do(TaskHalt("a", "enough"))
    world.retract_crashes("n1", [("a", 1)])
    assert counted(world) == (1, "enough")


def test_moments() -> None:
    assert moment(1_000_000_000_000) == "2001-09-09 01:46:40 UTC"
    assert moment(253_402_300_799_999) == "253402300799999 ms after 1970"
    assert moment(2**62).endswith("after 1970")
