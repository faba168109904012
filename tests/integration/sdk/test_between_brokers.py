"""Calls and waits between the slots of two brokers, and what the death of one does to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.sdk.brokers import Two
from tests.support import eventually
from understudy import CanceledError, Context, Runtime
from understudy_actors.errors import CommandError
from understudy_store.commands import PromiseGet, TaskGet


def shop(url: str, name: str, linger_ms: int = 20) -> Runtime:
    runtime = Runtime("shop", name, url=url, connect_timeout=5)

    @runtime.register
    def double(_: Context, n: int) -> int:
        return 2 * n

    @runtime.register
    def at_homes(ctx: Context, homes: list[str], n: int) -> Any:
        calls = [ctx.begin_rpc(double, n).options(home=home) for home in homes]
        return sum((yield ctx.all(calls)))

    @runtime.register
    def under_ids(ctx: Context, ids: list[str], n: int) -> Any:
        calls = [ctx.begin_rpc(double, n).options(id=id_) for id_ in ids]
        return sum((yield ctx.all(calls)))

    @runtime.register
    def step_under_id(ctx: Context, id_: str) -> Any:
        return (yield ctx.run(lambda _: 7).options(id=id_))

    @runtime.register
    def asks(ctx: Context, home: str) -> Any:
        return (yield (yield ctx.promise().options(home=home)))

    @runtime.register
    def asks_below(ctx: Context, home: str, people: str) -> Any:
        return (yield ctx.rpc(asks, people).options(home=home))

    return runtime


@pytest.fixture
def node(two: Two) -> Iterator[Runtime]:
    with shop(two.url("a"), "node") as node:
        yield node


@pytest.fixture
def client(two: Two) -> Iterator[Runtime]:
    runtime = Runtime("clients", url=two.url("b"), connect_timeout=5)
    yield runtime.options(target="shop")
    runtime.stop()


def test_calls_under_homes_at_both_brokers(two: Two, node: Runtime, client: Runtime) -> None:
    homes = two.ids("a", 20, "part") + two.ids("b", 20, "part")
    for root in two.ids("a", 1) + two.ids("b", 1):
        assert client.rpc(root, "at_homes", homes, 3).result(timeout=20) == 40 * 6


def test_calls_under_ids_of_the_users_own_at_both_brokers(
    two: Two, node: Runtime, client: Runtime
) -> None:
    ids = two.ids("a", 20, "own") + two.ids("b", 20, "own")
    for root in two.ids("a", 1) + two.ids("b", 1):
        # The second root finds the calls that the first one has made.
        assert client.rpc(root, "under_ids", ids, 3).result(timeout=20) == 40 * 6
    for id_ in ids:
        assert client.get(id_).result(timeout=5) == 6


def test_steps_under_ids_of_the_users_own(two: Two, node: Runtime, client: Runtime) -> None:
    [root], [step] = two.ids("a", 1), two.ids("b", 1, "step")
    assert client.rpc(root, "step_under_id", step).result(timeout=20) == 7
    assert client.get(step).result(timeout=5) == 7


@pytest.mark.parametrize(("root", "home"), [("a", "b"), ("b", "a"), ("a", "a")])
def test_a_function_is_suspended_until_a_promise_of_another_slot_settles(
    two: Two, node: Runtime, client: Runtime, root: str, home: str
) -> None:
    [id_], [people] = two.ids(root, 1), two.ids(home, 1, "people")
    handle = client.rpc(id_, "asks", people)
    eventually(lambda: suspended(client, id_))
    client.promises.resolve(f"{people}.{id_}.1", 5)
    assert handle.result(timeout=20) == 5


@pytest.mark.parametrize("away", ["a", "b", "ab"])
def test_a_broker_dies_while_a_function_waits_for_a_promise_of_the_other(
    two: Two, node: Runtime, client: Runtime, away: str
) -> None:
    [id_], [people] = two.ids("a", 1), two.ids("b", 1, "people")
    handle = client.rpc(id_, "asks", people)
    eventually(lambda: suspended(client, id_))
    for name in away:
        two.running.pop(name).stop()
    if "b" not in away:
        # It settles while the broker of those who wait for it is away.
        client.promises.resolve(f"{people}.{id_}.1", 5)
    for name in away:
        two.start(name)
    if "b" in away:
        client.promises.resolve(f"{people}.{id_}.1", 5)
    assert handle.result(timeout=20) == 5


def test_the_node_of_a_function_that_waits_dies(two: Two, client: Runtime) -> None:
    [id_], [people] = two.ids("a", 1), two.ids("b", 1, "people")
    with shop(two.url("a"), "first"):
        handle = client.rpc(id_, "asks", people)
        eventually(lambda: suspended(client, id_))
    client.promises.resolve(f"{people}.{id_}.1", 5)
    with shop(two.url("b"), "second"):
        assert handle.result(timeout=20) == 5


def test_calls_of_other_slots_are_canceled_with_their_caller(
    two: Two, node: Runtime, client: Runtime
) -> None:
    [root], [below], [people] = two.ids("a", 1), two.ids("b", 1, "low"), two.ids("a", 1, "people")
    handle = client.rpc(root, "asks_below", below, people)
    asked = f"{people}.{below}.{root}.1.1"
    eventually(lambda: state(client, asked) == "pending")
    eventually(lambda: suspended(client, f"{below}.{root}.1"))
    handle.cancel()
    with pytest.raises(CanceledError):
        handle.result(timeout=20)
    eventually(lambda: state(client, f"{below}.{root}.1") == "rejected_canceled")
    eventually(lambda: state(client, asked) == "rejected_canceled")


def state(client: Runtime, id_: str) -> str | None:
    """Return the state of a promise; None if it does not exist."""
    try:
        promise = client.session.command(PromiseGet(id_)).promise
    except CommandError:
        return None
    assert promise is not None
    return promise.state


def suspended(client: Runtime, id_: str) -> bool:
    """Return whether a call has been made and its function waits without a lease."""
    try:
        task = client.session.command(TaskGet(id_)).task
    except CommandError:
        return False
    assert task is not None
    return task.state == "suspended"
