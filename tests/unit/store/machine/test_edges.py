"""Every command in every state of a task does what the table of edges says, and all of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.store.machine import edges
from tests.unit.store.machine.world import World, create
from understudy_store.commands import (
    PromiseCancel,
    PromiseCreate,
    PromiseOccur,
    PromiseRegisterCallback,
    PromiseSettle,
    StoreCommand,
    TaskAcquire,
    TaskContinue,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskHalt,
    TaskPreload,
    TaskRelease,
    TaskRetry,
    TaskSuspend,
)
from understudy_store.records import EMPTY, TAG_TARGET

SPAN = 100_000


def _absent(world: World) -> None:
    world.promise("x", external="true")
    world.promise("done", 0, external="true")


def _pending(world: World) -> None:
    _acquired(world)
    world.do(TaskRelease("a", 1, failed=True))


def _acquired(world: World) -> None:
    _absent(world)
    world.root("a")


def _suspended(world: World) -> None:
    _acquired(world)
    world.do(TaskSuspend("a", 1, ("x",)))


def _halted(world: World) -> None:
    _acquired(world)
    world.do(TaskHalt("a"))


def _fulfilled(world: World) -> None:
    _acquired(world)
    world.fulfill("a")


STATES: dict[str | None, Callable[[World], None]] = {
    None: _absent,
    "pending": _pending,
    "acquired": _acquired,
    "suspended": _suspended,
    "halted": _halted,
    "fulfilled": _fulfilled,
}


def _commands(now: int) -> list[StoreCommand]:
    tags = {TAG_TARGET: "g"}
    return [
        *(PromiseCreate("a", now + span, tags=tags) for span in (-1, SPAN)),
        *(TaskCreate("n2", 5000, "a", now + span, tags=tags) for span in (-1, SPAN)),
        *(PromiseOccur("s", now, "a", now, now + span, EMPTY, tags) for span in (-1, SPAN)),
        PromiseSettle("a", "resolved"),
        PromiseCancel("a"),
        TaskAcquire("a", 1, "n2", 5000),
        TaskFence("a", 1, (create("b", now + SPAN),)),
        TaskPreload("a", 1),
        TaskSuspend("a", 1, ("x",)),
        TaskSuspend("a", 1, ("done",)),
        TaskFulfill("a", 1, "resolved"),
        TaskRelease("a", 1),
        TaskHalt("a"),
        TaskContinue("a"),
        TaskRetry("a"),
    ]


def _observed(state: str | None, number: int) -> tuple[type, int, edges.Edge] | None:
    """What a command does in a state; None if there is no task afterwards."""
    world = World()
    STATES[state](world)
    before = world.view.tasks.get("a")
    assert (None if before is None else before.state) == state
    command = _commands(world.now)[number]
    reply = world.do(command)
    after = world.view.tasks.get("a")
    return None if after is None else (type(command), reply.status, (state, after.state))


def test_the_edges_are_those_of_the_table_and_all_of_them() -> None:
    """`World` checks each of them against the table; here the table is checked for what lacks."""
    found: dict[tuple[type, int], set[edges.Edge]] = {}
    for state in STATES:
        for number in range(len(_commands(0))):
            observed = _observed(state, number)
            if observed is not None:
                kind, status, edge = observed
                found.setdefault((kind, status), set()).add(edge)
    made = {key: edge for key, edge in found.items() if key in edges.OF_COMMANDS}
    assert made == {key: set(edge) for key, edge in edges.OF_COMMANDS.items()}
    others = {key: edge for key, edge in found.items() if key not in edges.OF_COMMANDS}
    # The create of a promise that exists is the only other command that is not refused.
    assert {key for key in others if key[1] < 400} == {(PromiseCreate, 200), (PromiseOccur, 200)}
    assert all(before == after for edge in others.values() for before, after in edge)


@pytest.mark.parametrize("state", ["acquired", "suspended", "halted", "fulfilled"])
def test_a_task_is_acquired_only_from_pending(state: str) -> None:
    world = World()
    STATES[state](world)
    assert world.acquire("a", "n2", 1).status == 409
    assert world.machine.assign("a", 1, "n2", 5000, world.now) is None
    tags = {TAG_TARGET: "g"}
    create = world.do(TaskCreate("n2", 5000, "a", world.now + SPAN, tags=tags))
    assert create.status == (200 if state == "fulfilled" else 409)
    assert world.state("a")[1] == state
    assert world.task("a").version == 1


@pytest.mark.parametrize("move", ["release", "lapse", "halt and continue", "gone"])
def test_what_settled_is_kept_until_a_holder_is_told(move: str) -> None:
    world = World()
    _acquired(world)
    world.do(PromiseRegisterCallback("x", "a"))
    world.do(PromiseSettle("x", "resolved"))
    assert world.task("a").resumes == ("x",)
    if move == "release":
        world.do(TaskRelease("a", 1))
    elif move == "gone":
        world.release("n1")
    elif move == "lapse":
        world.advance(5000)
        world.settle_down()
    else:
        world.do(TaskHalt("a"))
        world.do(TaskContinue("a"))
    assert world.task("a").resumes == ("x",)
    world.acquire("a", "n2", 1)
    assert world.task("a").resumes == ()


def test_an_offer_is_armed_anew_only_when_it_is_due_and_later_than_now() -> None:
    world = World()
    world.promise("a", SPAN, target="g")
    world.settle_down()
    retry_at = world.task("a").retry_at
    assert retry_at == world.now + world.config.retry_timeout_ms
    world.advance(1)
    world.settle_down()
    assert world.task("a").retry_at == retry_at
    # A sweep that comes late, by more than the period, does not make up for the offers it missed.
    world.advance(5 * world.config.retry_timeout_ms)
    world.settle_down()
    assert world.task("a").retry_at == world.now + world.config.retry_timeout_ms
    assert [each.id for each in world.executes] == ["a", "a"]


def test_an_offer_goes_to_the_target_of_the_promise() -> None:
    world = World()
    world.promise("a", SPAN, target="g")
    world.promise("b", SPAN, target="poll://uni@h/n1")
    world.settle_down()
    assert [each.target for each in world.executes] == ["poll://any@g", "poll://uni@h/n1"]


def test_what_is_due_soon_is_not_offered_with_what_is_due() -> None:
    world = World()
    world.promise("a", SPAN, target="g", delay=str(world.now + 10))
    world.promise("b", SPAN, target="g", delay=str(world.now + 100))
    world.advance(10)
    world.settle_down()
    assert [each.id for each in world.executes] == ["a"]
    assert world.task("b").retry_at == world.now + 90
