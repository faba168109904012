"""The commands of tasks: what each does, and everything that it refuses."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.store.machine.world import START, World, create
from understudy_store.commands import (
    PromiseCreate,
    PromiseGet,
    PromiseSettle,
    StoreCommand,
    TaskAcquire,
    TaskContinue,
    TaskCreate,
    TaskFence,
    TaskFulfill,
    TaskGet,
    TaskHalt,
    TaskHeartbeat,
    TaskPreload,
    TaskRelease,
    TaskRetry,
    TaskSearch,
    TaskSuspend,
)
from understudy_store.limits import Limits
from understudy_store.machine import MachineConfig, Revocation
from understudy_store.machine.transitions import (
    PROMISE_TRANSITIONS,
    SETTLE_EVENTS,
    TASK_TRANSITIONS,
)
from understudy_store.records import TAG_TARGET, Value

TARGET = {TAG_TARGET: "g"}
ONE = Value({}, b"1")


@pytest.fixture
def world() -> World:
    return World()


def in_state(state: str) -> World:
    """A world with a task "a", version 1, in the state, and an external promise "x"."""
    world = World()
    world.promise("x", external="true")
    world.root("a")
    if state == "pending":
        world.do(TaskRelease("a", 1))
    elif state == "suspended":
        world.do(TaskSuspend("a", 1, ("x",)))
    elif state == "halted":
        world.do(TaskHalt("a"))
    elif state == "fulfilled":
        world.fulfill("a")
    assert world.task("a").state == state
    assert world.task("a").version == 1
    return world


STATES = ["pending", "acquired", "suspended", "halted", "fulfilled"]
COMMANDS: list[tuple[str, StoreCommand]] = [
    ("acquire", TaskAcquire("a", 1, "n2", 5)),
    ("fence", TaskFence("a", 1, ())),
    ("fence", TaskPreload("a", 1)),
    ("suspend", TaskSuspend("a", 1, ("x",))),
    ("fulfill", TaskFulfill("a", 1, "resolved")),
    ("release", TaskRelease("a", 1)),
    ("halt", TaskHalt("a")),
    ("continue", TaskContinue("a")),
]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("event", "command"), COMMANDS)
def test_the_table_says_what_is_done_and_a_missing_key_is_409(
    state: str, event: str, command: StoreCommand
) -> None:
    world = in_state(state)
    before = world.view
    reply = world.do(command)
    new = [each for key, each in TASK_TRANSITIONS.items() if key == (state, event)]
    if not new:
        assert reply.status == 409
        assert reply.promise == world.record("a")
        assert world.view == before
    else:
        assert reply.status == 200
        assert [world.task("a").state] == new


@pytest.mark.parametrize(
    "command",
    [
        TaskAcquire("a", 1, "n2", 5),
        TaskFence("a", 1, ()),
        TaskPreload("a", 1),
        TaskSuspend("a", 1, ("x",)),
        TaskFulfill("a", 1, "resolved"),
        TaskRelease("a", 1),
        TaskHalt("a"),
        TaskContinue("a"),
        TaskGet("a"),
    ],
)
def test_no_task_is_404(world: World, command: StoreCommand) -> None:
    assert world.do(command).status == 404
    world.promise("a", external="true")
    assert world.do(command).status == 404


@pytest.mark.parametrize("version", [0, 2])
def test_another_version_holds_nothing(world: World, version: int) -> None:
    world.promise("x", external="true")
    world.root("a")
    before = world.view
    for command in (
        TaskFence("a", version, (create("p", START + 9),)),
        TaskPreload("a", version),
        TaskSuspend("a", version, ("x",)),
        TaskFulfill("a", version, "resolved"),
        TaskRelease("a", version),
    ):
        assert world.do(command).status == 409
    assert world.view == before
    world.promise("b", target="g")
    assert world.acquire("b", version=1).status == 409


def test_past_its_deadline_a_task_is_not_held(world: World) -> None:
    world.root("a", ms=10)
    world.advance(10)
    late = world.do(TaskFulfill("a", 1, "resolved", ONE))
    assert late.status == 409
    assert late.promise == world.record("a")
    assert late.promise is not None
    assert late.promise.state == "rejected_timedout"
    assert world.revoked == [Revocation("n1", "a", 1, "deadline")]


def test_tables_begin_and_end_where_they_should() -> None:
    assert not [key for key in TASK_TRANSITIONS if key[0] == "fulfilled"]
    assert {key[0] for key in PROMISE_TRANSITIONS} == {"pending"}
    assert {key[0] for key in TASK_TRANSITIONS} | set(TASK_TRANSITIONS.values()) == set(STATES)
    assert set(SETTLE_EVENTS) == {"resolved", "rejected", "rejected_canceled"}
    assert [
        key for key, new in TASK_TRANSITIONS.items() if new == "acquired" and key[0] != new
    ] == [("pending", "acquire")]


# ---- create and acquire -------------------------------------------------------------------------


def test_create_is_acquired_at_once(world: World) -> None:
    reply = world.do(TaskCreate("n1", 50, "a", START + 100, ONE, TARGET))
    assert reply.status == 201
    assert reply.promise == world.record("a")
    task = reply.task
    assert task is not None
    assert (task.state, task.version, task.pid, task.ttl, task.expires_at) == (
        "acquired",
        1,
        "n1",
        50,
        START + 50,
    )
    world.settle_down()
    assert not world.executes
    changes = world.commit()
    assert [row.task for row in changes.inserted] == [task]
    assert not changes.updated


def test_create_acquires_the_pending_task_that_is_there(world: World) -> None:
    world.promise("a", target="g")
    reply = world.root("a")
    assert reply.status == 200
    assert reply.task == world.task("a")
    assert world.task("a").version == 1


def test_create_returns_the_fulfilled(world: World) -> None:
    world.root("a")
    world.fulfill("a")
    world.commit()
    reply = world.root("a", "n2")
    assert reply.status == 200
    assert reply.task is not None
    assert (reply.task.state, reply.task.version) == ("fulfilled", 1)


def test_create_past_the_deadline_acquires_nothing(world: World) -> None:
    reply = world.root("a", ms=0)
    assert reply.status == 201
    assert reply.task is not None
    assert (reply.task.state, reply.task.version) == ("fulfilled", 0)


@pytest.mark.parametrize("state", ["acquired", "suspended", "halted"])
def test_create_refuses_what_is_held(state: str) -> None:
    world = in_state(state)
    reply = world.root("a", "n2")
    assert reply.status == 409
    assert reply.promise == world.record("a")


def test_create_refuses_what_is_malformed(world: World) -> None:
    def ask(tags: dict[str, str], pid: str = "n", ttl: int = 5) -> int:
        return world.do(TaskCreate(pid, ttl, "a", START + 9, tags=tags)).status

    assert ask({}) == 400
    assert ask(TARGET, pid="") == 400
    assert ask(TARGET, pid="a\x00") == 400
    assert ask(TARGET, ttl=0) == 400
    assert ask(TARGET, ttl=2**60) == 400
    assert ask({TAG_TARGET: "no name"}) == 400
    assert not world.view.promises
    world.promise("a")
    assert ask(TARGET) == 422


def test_acquire_counts_and_hands_over(world: World) -> None:
    world.promise("a", target="g")
    reply = world.acquire("a")
    assert reply.status == 200
    assert (reply.promise, reply.task) == (world.record("a"), world.task("a"))
    assert world.task("a").version == 1
    assert world.machine.view.held("n1") == [("a", 1)]
    assert world.machine.view.holds("n1", "a", 1)
    assert not world.machine.view.holds("n1", "a", 0)
    assert not world.machine.view.holds("n2", "a", 1)


def test_acquire_refuses_a_bad_holder(world: World) -> None:
    world.promise("a", target="g")
    assert world.acquire("a", pid="").status == 400
    assert world.acquire("a", ttl=0).status == 400


def test_acquire_clears_resumes(world: World) -> None:
    world.root("a")
    world.child("a", "a.1")
    world.do(TaskSuspend("a", 1, ("a.1",)))
    world.do(PromiseSettle("a.1", "resolved"))
    assert world.task("a").resumes == ("a.1",)
    world.acquire("a", version=1)
    assert world.task("a").resumes == ()
    assert world.task("a").version == 2


def test_a_warm_node_is_told_that_another_has_it(world: World) -> None:
    world.root("a")
    world.child("a", "a.1")
    world.do(TaskSuspend("a", 1, ("a.1",)))
    world.do(PromiseSettle("a.1", "resolved"))
    world.acquire("a", "n2", 1)
    assert world.revoked == [Revocation("n1", "a", 1, "moved")]


def test_a_warm_node_that_resumes_is_told_nothing(world: World) -> None:
    world.root("a")
    world.child("a", "a.1")
    world.do(TaskSuspend("a", 1, ("a.1",)))
    world.do(PromiseSettle("a.1", "resolved"))
    world.acquire("a", "n1", 1)
    assert not world.revoked


# ---- fulfill, release, heartbeat ----------------------------------------------------------------


def test_fulfill_settles_and_is_no_news_to_its_holder(world: World) -> None:
    world.root("a")
    reply = world.do(TaskFulfill("a", 1, "rejected", ONE))
    assert (reply.status, reply.promise) == (200, world.record("a"))
    assert world.state("a") == ("rejected", "fulfilled")
    assert not world.revoked


def test_fulfill_refuses_what_is_malformed() -> None:
    world = World(MachineConfig(limits=Limits(payload_bytes_max=1)))
    world.root("a")
    assert world.do(TaskFulfill("a", 1, "rejected_timedout")).status == 400
    assert world.do(TaskFulfill("a", 1, "resolved", Value({}, b"12"))).status == 413
    assert world.state("a") == ("pending", "acquired")


def test_release_is_due_after_its_delay_and_keeps_the_version(world: World) -> None:
    world.root("a")
    assert world.do(TaskRelease("a", 1, 30)).status == 200
    task = world.task("a")
    assert (task.state, task.version, task.retry_at) == ("pending", 1, START + 30)
    world.settle_down()
    assert not world.executes
    world.commit()
    world.restart()
    assert world.task("a").retry_at == START + 30
    world.advance(30)
    world.settle_down()
    assert [(e.id, e.version, e.warm) for e in world.executes] == [("a", 1, None)]
    assert not world.revoked


@pytest.mark.parametrize("delay", [-1, 2**60])
def test_release_refuses_what_is_no_delay(world: World, delay: int) -> None:
    world.root("a")
    assert world.do(TaskRelease("a", 1, delay)).status == 400


def test_only_releases_of_what_failed_count_as_failures(world: World) -> None:
    world.root("a")
    for version, failed in ((1, True), (2, False), (3, True)):
        assert world.do(TaskRelease("a", version, 0, failed)).status == 200
        assert world.do(TaskAcquire("a", version, "n1", 100)).status == 200
    assert world.task("a").failures == 2
    world.commit()
    world.restart()
    assert world.task("a").failures == 2


def test_heartbeat_renews_what_is_held(world: World) -> None:
    for task_id in ("a", "b", "c"):
        world.root(task_id, ttl=50)
    world.root("d", "n2", ttl=50)
    world.commit()
    world.advance(10)
    some = (("a", 1), ("b", 0), ("d", 1), ("none", 1))
    assert world.do(TaskHeartbeat("n1", some)).status == 200
    expiries = [world.task(each).expires_at for each in "abcd"]
    assert expiries == [START + 60, START + 50, START + 50, START + 50]
    world.advance(10)
    assert world.do(TaskHeartbeat("n1")).status == 200
    expiries = [world.task(each).expires_at for each in "abcd"]
    assert expiries == [START + 70] * 3 + [START + 50]
    assert not world.commit()
    assert world.do(TaskHeartbeat("nobody")).status == 200


def test_heartbeat_does_not_renew_what_is_overdue(world: World) -> None:
    world.root("a", ms=10)
    world.root("b", ms=10)
    world.advance(10)
    world.do(TaskHeartbeat("n1"))
    assert world.state("a") == ("rejected_timedout", "fulfilled")
    assert world.state("b") == ("rejected_timedout", "fulfilled")
    assert [r.reason for r in world.revoked] == ["deadline", "deadline"]


# ---- halt, continue, get ------------------------------------------------------------------------


def test_halt_takes_the_task_and_continue_offers_it_again(world: World) -> None:
    world.root("a")
    reply = world.do(TaskHalt("a"))
    assert (reply.status, reply.task) == (200, world.task("a"))
    assert world.revoked == [Revocation("n1", "a", 1, "halted")]
    assert world.do(TaskHalt("a")).status == 200
    world.advance(9000)
    world.settle_down()
    assert not world.executes
    assert world.do(TaskContinue("a")).status == 200
    world.settle_down()
    assert [(e.id, e.version) for e in world.executes] == [("a", 1)]


def test_a_retry_is_made_now_if_asked(world: World) -> None:
    world.root("a")
    assert world.do(TaskRetry("a")).status == 409
    world.do(TaskRelease("a", 1, 60_000, failed=True, cause="attempt 1 failed"))
    before = world.task("a")
    reply = world.do(TaskRetry("a"))
    assert (reply.status, reply.task) == (200, world.task("a"))
    assert reply.task == msgspec.structs.replace(before, retry_at=world.now)
    world.settle_down()
    assert [(e.id, e.version) for e in world.executes] == [("a", 1)]
    world.root("b")
    world.do(TaskRelease("b", 1, 60_000))
    assert world.do(TaskRetry("b")).error == (
        "no attempt of task 'b' has failed, so there is nothing to retry"
    )
    assert world.do(TaskRetry("none")).status == 404


def test_a_halted_task_remembers_what_settles(world: World) -> None:
    world.root("a")
    world.child("a", "a.1")
    world.do(TaskSuspend("a", 1, ("a.1",)))
    world.do(TaskHalt("a"))
    world.do(PromiseSettle("a.1", "resolved"))
    assert world.state("a") == ("pending", "halted")
    world.commit()
    world.restart()
    world.do(TaskContinue("a"))
    assert world.task("a").resumes == ("a.1",)


def test_get_is_projected(world: World) -> None:
    world.root("a", ms=10)
    reply = world.do(TaskGet("a"))
    assert (reply.status, reply.task, reply.promise) == (200, world.task("a"), world.record("a"))
    world.advance(10)
    late = world.do(TaskGet("a")).task
    assert late is not None
    assert late.state == "fulfilled"


def test_history_is_found_and_leaves_again(world: World) -> None:
    world.root("a")
    world.fulfill("a")
    world.commit()
    assert world.machine.view.record("a") is None
    assert world.machine.view.task("a") is None
    assert world.do(PromiseGet("a")).promise == world.record("a")
    assert world.machine.view.record("a") is not None
    world.commit()
    assert world.machine.view.record("a") is None


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (TaskSearch(), 200),
        (TaskSearch("halted", "g", 1, "c"), 200),
        (TaskSearch("done"), 400),
        (TaskSearch(limit=0), 400),
        (TaskSearch(limit=1001), 400),
    ],
)
def test_a_search_is_checked(world: World, command: TaskSearch, status: int) -> None:
    assert world.do(command).status == status


def test_preload_is_left_to_the_engine_for_who_holds_it(world: World) -> None:
    world.root("a")
    reply = world.do(TaskPreload("a", 1))
    assert (reply.status, reply.promises) == (200, None)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("version", [1, 2, 7])
def test_halt_with_a_version_is_for_the_holder_of_that_version(state: str, version: int) -> None:
    world = in_state(state)
    reply = world.do(TaskHalt("a", "why", version))
    if state == "acquired" and version == 1:
        assert reply.status == 200
        assert (world.task("a").state, world.task("a").cause) == ("halted", "why")
    else:
        assert reply.status == 409
        assert world.task("a").state == state


def test_a_release_may_say_why_and_progress_forgets_it(world: World) -> None:
    world.root("a")
    assert world.do(TaskRelease("a", 1, 0, True, "attempt 1 failed")).status == 200
    assert world.task("a").cause == "attempt 1 failed"
    world.commit()
    world.restart()
    assert world.do(TaskAcquire("a", 1, "n1", 100)).status == 200
    assert world.task("a").cause == "attempt 1 failed"
    assert world.do(TaskRelease("a", 2)).status == 200
    assert world.task("a").cause == "attempt 1 failed", "another node has it to do"
    assert world.do(TaskAcquire("a", 2, "n1", 100)).status == 200
    assert world.do(TaskFence("a", 3, (PromiseCreate("a.1", START + 100),))).status == 200
    assert world.task("a").cause is None
    assert world.do(TaskRelease("a", 3, 0, True, "attempt 2 failed")).status == 200
    assert world.do(TaskAcquire("a", 3, "n1", 100)).status == 200
    assert world.do(TaskRelease("a", 4, 0, True, "line\nbreak\ud800")).status == 400
    assert world.task("a").cause == "attempt 2 failed"
