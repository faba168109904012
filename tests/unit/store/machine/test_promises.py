"""The commands of promises: what each does, and everything that it refuses."""

from __future__ import annotations

import pytest

from tests.unit.store.machine.world import START, World, create
from understudy_store.commands import (
    PromiseCancel,
    PromiseCreate,
    PromiseGet,
    PromiseSearch,
    PromiseSettle,
    TaskFence,
    TaskSuspend,
)
from understudy_store.limits import Limits
from understudy_store.machine import MachineConfig, Revocation
from understudy_store.records import EMPTY, TAG_PRIORITY, TAG_TARGET, Value

ONE = Value({"type": "int"}, b"1")
SMALL = Limits(
    id_chars_max=8,
    payload_bytes_max=4,
    tags_max=2,
    tag_chars_max=40,
    header_chars_max=10,
    callbacks_max=2,
    page_max=10,
)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def small() -> World:
    return World(MachineConfig(limits=SMALL))


# ---- get and create -----------------------------------------------------------------------------


def test_create_then_get(world: World) -> None:
    made = world.do(PromiseCreate("p", START + 10, ONE, {"mine": "1"}))
    assert made.status == 201
    assert made.promise is not None
    assert (made.promise.state, made.promise.param, made.promise.created_at) == (
        "pending",
        ONE,
        START,
    )
    assert world.do(PromiseGet("p")).promise == made.promise
    assert world.state("p") == ("pending", None)


def test_get_of_nothing_is_404(world: World) -> None:
    reply = world.do(PromiseGet("p"))
    assert reply.status == 404
    assert reply.error == "promise 'p' does not exist"


def test_create_is_idempotent_on_the_id_whatever_else_is_asked(world: World) -> None:
    made = world.promise("p")
    again = world.do(PromiseCreate("p", START + 99, ONE))
    assert (again.status, again.promise) == (200, made.promise)
    world.do(PromiseSettle("p", "resolved"))
    world.commit()
    later = world.do(PromiseCreate("p", START + 99))
    assert later.status == 200
    assert later.promise is not None
    assert later.promise.state == "resolved"


def test_a_target_makes_a_pending_task_that_is_due_now(world: World) -> None:
    world.promise("p", target="g", priority="7")
    task = world.task("p")
    assert (task.state, task.version, task.target, task.retry_at) == (
        "pending",
        0,
        "poll://any@g",
        START,
    )
    world.sweep()
    assert [(e.id, e.version, e.target, e.priority, e.warm) for e in world.executes] == [
        ("p", 0, "poll://any@g", 7, None)
    ]


def test_a_delay_keeps_the_task_back(world: World) -> None:
    world.promise("p", target="g", delay=str(START + 50))
    world.settle_down()
    assert not world.executes
    assert world.machine.next_due() == START + 50
    world.advance(50)
    world.settle_down()
    assert [e.id for e in world.executes] == ["p"]


def test_created_past_its_deadline_it_is_born_settled(world: World) -> None:
    reply = world.promise("p", 0, target="g")
    assert reply.status == 201
    assert reply.promise is not None
    assert reply.promise.state == "rejected_timedout"
    assert reply.promise.created_at == reply.promise.settled_at == START
    assert world.state("p") == ("rejected_timedout", "fulfilled")
    assert world.task("p").version == 0
    assert world.promise("t", -5, timer="true").promise.state == "resolved"  # type: ignore[union-attr]
    assert [s.promise.id for s in world.settled] == ["p", "t"]


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (PromiseCreate("", START), 400),
        (PromiseCreate("123456789", START), 400),
        (PromiseCreate("a\nb", START), 400),
        (PromiseCreate("a\ud800", START), 400),
        (PromiseCreate("p", -1), 400),
        (PromiseCreate("p", 2**63), 400),
        (PromiseCreate("p", START, Value({}, b"12345")), 413),
        (PromiseCreate("p", START, Value({"k": "x" * 11})), 400),
        (PromiseCreate("p", START, Value({"a": "", "b": "", "c": ""})), 400),
        (PromiseCreate("p", START, Value({"a": "\x00"})), 400),
        (PromiseCreate("p", START, EMPTY, {"a": "", "b": "", "c": ""}), 400),
        (PromiseCreate("p", START, EMPTY, {"a": "x" * 41}), 400),
        (PromiseCreate("p", START, EMPTY, {"x" * 41: "a"}), 400),
        (PromiseCreate("p", START, EMPTY, {"a": "\udfff"}), 400),
        (create("p", START, target="not a name"), 400),
        (create("p", START, target="ftp://x"), 400),
        (create("p", START, target="http://me:secret@x"), 400),
        (create("p", START, target="g", timer="true"), 400),
        (create("p", START, timer="yes"), 400),
        (create("p", START, external="1"), 400),
        (create("p", START, target="g", delay="soon"), 400),
        (create("p", START, target="g", delay="-1"), 400),
        (create("p", START, target="g", priority="101"), 400),
        (create("p", START, target="g", priority="1.5"), 400),
        (create("p", START, branch=""), 400),
    ],
)
def test_create_refuses_what_is_malformed(
    small: World, command: PromiseCreate, status: int
) -> None:
    reply = small.do(command)
    assert reply.status == status
    assert reply.error
    assert not small.view.promises
    assert not small.commit()


@pytest.mark.parametrize("promise_id", ["a b", "größe", "任务.1", "🎭", "{id}"])
def test_ids_are_any_text(world: World, promise_id: str) -> None:
    assert world.promise(promise_id).status == 201


def test_tags_like_those_before_are_checked_where_they_differ(world: World) -> None:
    tags = {TAG_TARGET: "g", TAG_PRIORITY: "1"}
    good = Value({"fn": "f"}, b"1")
    assert world.do(PromiseCreate("a", START + 10, good, tags)).status == 201
    assert world.do(PromiseCreate("b", START + 10, good, dict(tags))).status == 201
    bad = {**tags, TAG_PRIORITY: "high"}
    assert world.do(PromiseCreate("c", START + 10, good, bad)).status == 400
    assert world.do(PromiseCreate("c", START + 10, good, bad)).status == 400
    long = Value({"fn": "f" * 100_000}, b"1")
    assert world.do(PromiseCreate("c", START + 10, long, tags)).status == 400
    other = world.do(PromiseCreate("c", START + 10, Value({"fn": "g"}, b"2"), {TAG_TARGET: "h"}))
    assert other.promise is not None
    assert (other.promise.param, other.promise.tags) == (
        Value({"fn": "g"}, b"2"),
        {TAG_TARGET: "h"},
    )
    first = world.do(PromiseGet("b")).promise
    assert first is not None
    assert (first.param, first.tags) == (good, tags)


def test_at_the_bounds_all_is_accepted(small: World) -> None:
    command = PromiseCreate("12345678", START + 1, Value({"a": "x" * 10}, b"1234"), {"a": "x" * 40})
    assert small.do(command).status == 201
    assert small.do(create("n", START + 1, target="g", priority="-100")).status == 201


def test_texts_may_contain_lines(world: World) -> None:
    assert world.do(PromiseCreate("p", START + 1, Value({"at": "a\nb"}), {"t": "c\td"})).ok


# ---- settle -------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["resolved", "rejected", "rejected_canceled"])
def test_settle(world: World, state: str) -> None:
    world.promise("p", target="g")
    world.advance(3)
    reply = world.do(PromiseSettle("p", state, ONE))
    assert reply.status == 200
    assert reply.promise is not None
    assert (reply.promise.state, reply.promise.value, reply.promise.settled_at) == (
        state,
        ONE,
        START + 3,
    )
    assert world.state("p") == (state, "fulfilled")


def test_settling_again_changes_nothing(world: World) -> None:
    world.promise("p")
    first = world.do(PromiseSettle("p", "resolved", ONE))
    world.commit()
    again = world.do(PromiseSettle("p", "rejected"))
    assert (again.status, again.promise) == (200, first.promise)
    assert not world.commit()


@pytest.mark.parametrize("state", ["pending", "rejected_timedout", "", "done"])
def test_settle_refuses_other_states(world: World, state: str) -> None:
    world.promise("p")
    assert world.do(PromiseSettle("p", state)).status == 400
    assert world.state("p") == ("pending", None)


def test_settle_refuses_what_is_absent_or_too_large(small: World) -> None:
    assert small.do(PromiseSettle("p", "resolved")).status == 404
    small.promise("p")
    assert small.do(PromiseSettle("p", "resolved", Value({}, b"12345"))).status == 413


def test_settle_at_the_deadline_comes_too_late(world: World) -> None:
    world.promise("p", 10)
    world.promise("t", 10, timer="true")
    world.advance(10)
    late = world.do(PromiseSettle("p", "resolved", ONE)).promise
    assert late is not None
    assert (late.state, late.settled_at, late.value) == ("rejected_timedout", START + 10, EMPTY)
    rung = world.do(PromiseSettle("t", "rejected", ONE)).promise
    assert rung is not None
    assert (rung.state, rung.value) == ("resolved", EMPTY)


def test_every_command_sees_the_projection(world: World) -> None:
    world.promise("p", 10)
    world.advance(9)
    assert world.do(PromiseGet("p")).promise.state == "pending"  # type: ignore[union-attr]
    world.advance(1)
    assert world.do(PromiseGet("p")).promise.state == "rejected_timedout"  # type: ignore[union-attr]


def test_settling_takes_the_task_from_its_holder_and_says_so(world: World) -> None:
    world.root("a")
    world.do(PromiseSettle("a", "resolved"))
    assert world.revoked == [Revocation("n1", "a", 1, "settled")]
    assert world.machine.view.held("n1") == []


# ---- cancel -------------------------------------------------------------------------------------


def test_cancel_takes_a_whole_call_graph(world: World) -> None:
    world.root("a")
    world.child("a", "a.1")
    world.acquire("a.1", "n2")
    world.child("a.1", "a.1.1")
    world.do(
        TaskFence(
            "a",
            1,
            (
                create("a.l", START + 9000, scope="local", origin="a"),
                create("a.l.1", START + 9000, target="g", origin="a", parent="a.l"),
                create("a.d", START + 9000, target="g", scope="detached"),
                create("a.o", START + 9000, target="g", origin="other"),
            ),
        )
    )
    world.do(TaskSuspend("a", 1, ("a.1", "a.l.1")))
    reply = world.do(PromiseCancel("a", ONE))
    assert reply.promise is not None
    assert (reply.promise.state, reply.promise.value) == ("rejected_canceled", ONE)
    for each in ("a.1", "a.1.1", "a.l", "a.l.1"):
        assert world.record(each).state == "rejected_canceled"
    assert world.record("a.1").value == EMPTY
    assert world.record("a.d").state == world.record("a.o").state == "pending"
    assert world.revoked == [
        Revocation("n1", "a", 1, "canceled"),
        Revocation("n2", "a.1", 1, "canceled"),
    ]
    world.sweep()
    assert {e.id for e in world.executes} == {"a.d", "a.o"}


def test_cancel_of_a_middle_resumes_what_stands_above(world: World) -> None:
    world.root("a")
    world.child("a", "a.1")
    world.do(TaskSuspend("a", 1, ("a.1",)))
    world.do(PromiseCancel("a.1"))
    assert world.state("a") == ("pending", "pending")
    assert world.task("a").resumes == ("a.1",)


def test_cancel_leaves_those_past_their_deadline_to_it(world: World) -> None:
    world.root("a")
    world.child("a", "a.1", ms=5)
    world.advance(5)
    world.do(PromiseCancel("a"))
    assert world.record("a.1").state == "rejected_timedout"


def test_cancel_refuses_or_changes_nothing(small: World) -> None:
    assert small.do(PromiseCancel("p")).status == 404
    small.promise("p")
    assert small.do(PromiseCancel("p", Value({}, b"12345"))).status == 413
    small.do(PromiseSettle("p", "resolved"))
    reply = small.do(PromiseCancel("p"))
    assert (reply.status, reply.promise) == (200, small.record("p"))


def test_cancel_of_a_chain_of_thousands() -> None:
    world = World()
    machine, now = world.machine, START
    for depth in range(3000):
        tags = (
            {"target": "g"}
            if not depth
            else {"target": "g", "origin": "0", "branch": f"{depth - 1}"}
        )
        assert machine.apply(create(str(depth), now + 100, **tags), now).status == 201
    assert machine.apply(PromiseCancel("0"), now).status == 200
    assert machine.view.statistics().promises_pending == 0


# ---- search -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (PromiseSearch(limit=10), 200),
        (PromiseSearch("resolved", {"a": "b"}, "x", "o", 1, "c"), 200),
        (PromiseSearch(limit=0), 400),
        (PromiseSearch(limit=11), 400),
        (PromiseSearch("done", limit=1), 400),
        (PromiseSearch(tags={"a": "x" * 41}, limit=1), 400),
    ],
)
def test_a_search_is_checked_and_left_to_the_engine(
    small: World, command: PromiseSearch, status: int
) -> None:
    reply = small.do(command)
    assert (reply.status, reply.promises) == (status, None)


def test_tags_and_headers_have_a_bound_together() -> None:
    """What is pending is kept in memory, and 1,100 promises took 200 MiB."""
    world = World()
    most = Limits().texts_chars_max
    fits = {f"{index:02}": "x" * (most // 16 - 2) for index in range(16)}
    over = {**fits, "y": ""}
    for tags, headers, status in ((fits, fits, 201), (over, {}, 400), ({}, over, 400)):
        create = PromiseCreate(f"p{status}", START + 99, Value(headers, b""), tags)
        reply = world.do(create)
        assert reply.status == status, reply.error
        assert status == 201 or "16,385 characters" in (reply.error or "")
