"""Callbacks, listeners, and the news of settlements that holders get."""

from __future__ import annotations

import pytest

from tests.unit.store.machine.world import START, World, create
from understudy_store.commands import (
    PromiseRegisterCallback,
    PromiseRegisterListener,
    PromiseSettle,
    TaskFence,
    TaskSuspend,
)
from understudy_store.limits import Limits
from understudy_store.machine import MachineConfig, Settlement
from understudy_store.records import Value

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
CLIENT = "poll://uni@c/1"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def small() -> World:
    return World(MachineConfig(limits=SMALL))


def test_a_callback_resumes_its_awaiter(world: World) -> None:
    world.root("a")
    world.promise("x", external="true")
    added = world.do(PromiseRegisterCallback("x", "a"))
    assert added.status == 201
    assert world.do(PromiseRegisterCallback("x", "a")).status == 200
    assert world.view.callbacks == {"x": ("a",)}
    world.do(PromiseSettle("x", "resolved"))
    assert world.task("a").resumes == ("x",)
    assert world.task("a").state == "acquired"
    settled = world.do(PromiseRegisterCallback("x", "a"))
    assert (settled.status, settled.promise) == (200, world.record("x"))


def test_a_settled_awaiter_is_not_added(world: World) -> None:
    world.root("a")
    world.fulfill("a")
    world.promise("x", external="true")
    assert world.do(PromiseRegisterCallback("x", "a")).status == 200
    assert not world.view.callbacks


def test_register_callback_refuses(world: World) -> None:
    world.promise("t", target="g")
    world.promise("x", external="true")
    world.promise("plain")
    world.promise("local", scope="local", branch="t")
    world.promise("timer", scope="local", branch="t", timer="true")

    def ask(awaited: str, awaiter: str) -> int:
        return world.do(PromiseRegisterCallback(awaited, awaiter)).status

    assert ask("x", "x") == 400
    assert ask("none", "t") == 404
    assert ask("x", "none") == 422
    assert ask("x", "plain") == 422
    assert ask("plain", "t") == 422
    assert ask("local", "t") == 422
    assert not world.view.callbacks
    # a timer of one activation is for that activation
    world.promise("u", target="g")
    assert ask("timer", "u") == 422
    assert ask("timer", "t") == 201


def test_callbacks_and_listeners_have_a_bound(small: World) -> None:
    small.promise("x", external="true")
    small.promise("t", target="g")
    assert small.do(PromiseRegisterCallback("x", "t")).status == 201
    assert small.do(PromiseRegisterListener("x", CLIENT)).status == 201
    assert small.do(PromiseRegisterListener("x", "c")).status == 400
    small.acquire("t")
    small.promise("u", target="g")
    small.acquire("u")
    refused = small.do(TaskSuspend("u", 1, ("x",)))
    assert refused.status == 400
    assert small.state("u") == ("pending", "acquired")


def test_a_listener_is_told_once_until_it_acknowledges(world: World) -> None:
    world.promise("x", external="true")
    assert world.do(PromiseRegisterListener("x", CLIENT)).status == 201
    assert world.do(PromiseRegisterListener("x", CLIENT)).status == 200
    world.do(PromiseSettle("x", "resolved", ONE))
    record = world.record("x")
    assert world.unblocks == [(CLIENT, record)]
    world.commit()
    world.restart()
    assert world.machine.owed_unblocks() == [(CLIENT, record)]
    assert world.machine.take_unblocks() == []
    world.machine.acknowledge("x", CLIENT)
    world.machine.acknowledge("x", CLIENT)
    assert world.commit().unblocks_removed == [("x", CLIENT)]
    assert world.machine.owed_unblocks() == []


def test_what_is_acknowledged_within_its_batch_is_never_written(world: World) -> None:
    world.promise("x", external="true")
    world.do(PromiseRegisterListener("x", CLIENT))
    world.do(PromiseSettle("x", "resolved"))
    world.machine.acknowledge("x", CLIENT)
    changes = world.commit()
    assert (changes.unblocks_added, changes.unblocks_removed) == ([], [])
    assert (changes.listeners_added, changes.listeners_removed) == ([], [])


def test_addresses_are_stored_in_one_spelling(world: World) -> None:
    world.promise("x", external="true")
    assert world.do(PromiseRegisterListener("x", "c")).status == 201
    assert world.do(PromiseRegisterListener("x", "poll://any@c")).status == 200
    assert world.view.listeners == {"x": ("poll://any@c",)}


def test_register_listener_refuses(world: World) -> None:
    world.promise("x", external="true")
    world.promise("plain")
    world.promise("timer", scope="local", timer="true")
    assert world.do(PromiseRegisterListener("x", "ftp://x")).status == 400
    assert world.do(PromiseRegisterListener("none", "c")).status == 404
    assert world.do(PromiseRegisterListener("plain", "c")).status == 422
    assert world.do(PromiseRegisterListener("timer", "c")).status == 422
    assert not world.view.listeners


def test_a_settled_promise_takes_no_listener(world: World) -> None:
    world.promise("x", 0, external="true")
    reply = world.do(PromiseRegisterListener("x", "c"))
    assert (reply.status, reply.promise) == (200, world.record("x"))
    assert not world.unblocks


def test_the_holder_of_the_branch_is_told_of_settlements(world: World) -> None:
    world.root("a")
    world.child("a", "a.1")
    world.acquire("a.1", "n2")
    world.fulfill("a.1")
    assert world.settled == [Settlement(world.record("a.1"), "n1")]


def test_its_own_local_steps_are_no_news(world: World) -> None:
    world.root("a")
    step = create("a.l", START + 9, scope="local")
    world.do(TaskFence("a", 1, (step, PromiseSettle("a.l", "resolved"))))
    assert world.settled == [Settlement(world.record("a.l"), None)]


def test_what_others_may_await_is_news_whoever_settles_it(world: World) -> None:
    world.root("a")
    step = create("a.x", START + 9, external="true")
    world.do(TaskFence("a", 1, (step, PromiseSettle("a.x", "resolved"))))
    assert world.settled == [Settlement(world.record("a.x"), "n1")]


def test_a_local_step_that_runs_out_of_time_is_news(world: World) -> None:
    world.root("a")
    world.do(TaskFence("a", 1, (create("a.l", START + 9, scope="local"),)))
    world.advance(9)
    world.settle_down()
    assert world.settled == [Settlement(world.record("a.l"), "n1")]


def test_a_suspended_node_that_is_warm_is_told(world: World) -> None:
    world.root("a")
    world.child("a", "a.1")
    world.do(TaskSuspend("a", 1, ("a.1",)))
    world.do(PromiseSettle("a.1", "resolved"))
    assert world.settled == [Settlement(world.record("a.1"), "n1")]
    world.sweep()
    assert [(e.id, e.warm) for e in world.executes if e.id == "a"] == [("a", "n1")]
    world.release("n1")
    world.promise("z", target="g", branch="a")
    world.do(PromiseSettle("z", "resolved"))
    assert world.settled[-1] == Settlement(world.record("z"), None)
