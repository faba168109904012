"""The option `home`: calls of one function that live elsewhere, with a broker and sockets."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import eventually
from understudy import CanceledError, ConfigurationError, Context, Runtime
from understudy_store.commands import PromiseGet
from understudy_store.records import TAG_BRANCH, TAG_ORIGIN
from understudy_store.slots import home_of


@pytest.mark.parametrize(
    "call",
    [
        lambda runtime: runtime.rpc("order-7", "f"),
        lambda runtime: runtime.map("order-7", "f", [1]),
        lambda runtime: runtime.map(["part-3.a", "order-7"], "f", [1, 2]),
        lambda runtime: runtime.run("order-7", lambda ctx: 1),
    ],
    ids=["rpc", "map", "map of ids", "run"],
)
def test_a_root_lives_where_its_id_says(runtime: Runtime, call: Callable[[Runtime], Any]) -> None:
    words = r"option home='part-3': the id 'order-7\S*' has the home 'order-7\S*'.*Write 'part-3\."
    with pytest.raises(ConfigurationError, match=words):
        call(runtime.options(home="part-3"))
    assert list(runtime.promises.search()) == []


def test_a_root_whose_id_begins_with_the_home(runtime: Runtime) -> None:
    runtime.register(lambda ctx, number: (ctx.id, number), name="f")
    part = runtime.options(home="part-3")
    assert part.rpc("part-3.order-7", "f", 1).result(timeout=10) == ("part-3.order-7", 1)
    assert part.rpc("part-3", "f", 2).result(timeout=10) == ("part-3", 2)
    many = part.map("part-3.many", "f", [3, 4]).results(timeout=10)
    assert many == [("part-3.many/0", 3), ("part-3.many/1", 4)]


def test_the_calls_of_a_schedule_live_where_their_ids_say(runtime: Runtime) -> None:
    schedules = runtime.options(home="part-3").schedules
    words = "schedules.options(promise_id='part-3.{id}.{timestamp}')"
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        schedules.create("nightly", "0 3 * * *", "f")
    made = runtime.schedules.create("nightly", "0 3 * * *", "f")
    assert home_of(made.promise_id.replace("{id}", made.id)) == "nightly"


def test_calls_at_other_homes_belong_to_their_caller(runtime: Runtime) -> None:
    @runtime.register
    def below(ctx: Context) -> str:
        return ctx.id

    @runtime.register
    def part(ctx: Context) -> Any:
        return (yield ctx.rpc(below))

    @runtime.register
    def whole(ctx: Context, parts: int) -> Any:
        calls = [ctx.begin_rpc(part).options(home=f"part-{n}") for n in range(parts)]
        return (yield ctx.all(calls))

    assert runtime.rpc("whole-1", whole, 3).result(timeout=10) == [
        f"part-{n}.whole-1.{n + 1}.1" for n in range(3)
    ]
    for id, branch in (("part-1.whole-1.2", "whole-1"), ("part-1.whole-1.2.1", "part-1.whole-1.2")):
        record = runtime.session.command(PromiseGet(id)).promise
        assert record is not None
        assert (record.tags[TAG_ORIGIN], record.tags[TAG_BRANCH]) == ("whole-1", branch)


def test_they_are_canceled_with_it(runtime: Runtime) -> None:
    @runtime.register
    def waits(ctx: Context) -> Any:
        yield (yield ctx.promise().options(home="people"))

    @runtime.register
    def whole(ctx: Context) -> Any:
        yield ctx.rpc(waits).options(home="part-1")

    handle = runtime.rpc("whole-1", whole)
    eventually(lambda: list(runtime.promises.search(prefix="people.")))
    handle.cancel()
    with pytest.raises(CanceledError):
        handle.result(timeout=10)
    states = {found.id: found.state for found in runtime.promises.search()}
    assert states == dict.fromkeys(
        ["whole-1", "part-1.whole-1.1", "people.part-1.whole-1.1.1"], "canceled"
    )
