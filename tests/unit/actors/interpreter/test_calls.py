"""Calls: the promise that each asks for, and the value that it gives."""

from __future__ import annotations

from typing import Any

from tests.unit.actors.interpreter.harness import (
    DAY_MS,
    ROOT,
    START,
    Harness,
    creates,
    double,
    environment,
)
from understudy_store.records import (
    HEADER_FUNCTION,
    HEADER_KIND,
    HEADER_SITE,
    TAG_BRANCH,
    TAG_EXTERNAL,
    TAG_ORIGIN,
    TAG_PARENT,
    TAG_SCOPE,
    TAG_TARGET,
    TAG_TIMER,
)


class TestCalls:
    def test_rfc_waits_for_the_value(self) -> None:
        def fn(ctx: Any) -> Any:
            value = yield ctx.rfc("bar", 1)
            return [value]

        harness = Harness(fn)
        (create,) = creates(harness)
        assert create.id == "root.1"
        assert create.param.headers[HEADER_KIND] == "rfi"
        assert create.param.headers[HEADER_FUNCTION] == "bar"
        assert create.param.headers[HEADER_SITE].startswith("interpreter/test_calls.py:")
        assert create.tags == {TAG_ORIGIN: ROOT, TAG_BRANCH: ROOT, TAG_TARGET: "poll://any@g"}
        assert harness.outcome is None
        harness.resolve("root.1", 7)
        assert harness.result == [7]

    def test_rfi_gives_a_promise_at_once(self) -> None:
        def fn(ctx: Any) -> Any:
            first = yield ctx.rfi("bar", 1)
            second = yield ctx.rfi("bar", 2)
            return [(yield second), (yield first), (yield first)]

        harness = Harness(fn)
        assert [c.id for c in creates(harness)] == ["root.1", "root.2"]
        harness.resolve("root.1", "a")
        assert harness.outcome is None
        harness.resolve("root.2", "b")
        assert harness.result == ["b", "a", "a"]

    def test_yield_from_and_await_are_the_same_as_yield(self) -> None:
        def generator(ctx: Any) -> Any:
            promise = yield from ctx.rfi("bar", 1)
            return (yield from promise)

        async def coroutine(ctx: Any) -> Any:
            promise = await ctx.rfi("bar", 1)
            return await promise

        for fn in (generator, coroutine):
            harness = Harness(fn)
            harness.resolve("root.1", 5)
            assert harness.result == 5

    def test_a_registered_function_is_called_by_name_with_its_timeout(self) -> None:
        env = environment()
        env.registry.register(double, name="twice", timeout_s=2)

        def fn(ctx: Any) -> Any:
            return (yield ctx.rfc(double, 4))

        (create,) = creates(Harness(fn, env=env))
        assert create.param.headers[HEADER_FUNCTION] == "twice"
        assert create.timeout_at == START + 2000

    def test_a_local_call_is_a_step_with_a_result_of_its_own(self) -> None:
        def fn(ctx: Any) -> Any:
            one = yield ctx.lfc(double, 1)
            two = yield ctx.lfi(double, 2)
            return [one, (yield two)]

        harness = Harness(fn)
        assert harness.result == [2, 4]
        assert [c.id for c in creates(harness)] == ["root.1", "root.2"]
        assert creates(harness)[0].tags[TAG_SCOPE] == "local"
        assert creates(harness)[0].param.data is None, "the arguments of a step need not be stored"

    def test_children_of_a_local_step_name_it_as_their_parent(self) -> None:
        def inner(ctx: Any) -> Any:
            return (yield ctx.rfc("bar", 1))

        def fn(ctx: Any) -> Any:
            return (yield ctx.lfc(inner))

        harness = Harness(fn)
        child = harness.promises["root.1.1"]
        assert child.tags[TAG_PARENT] == "root.1"
        assert child.tags[TAG_BRANCH] == ROOT
        harness.resolve("root.1.1", 3)
        assert harness.result == 3

    def test_calls_that_are_not_yielded_are_made_in_order(self) -> None:
        def fn(ctx: Any) -> Any:
            ctx.rfi("a", 1)
            ctx.rfi("b", 2).options(tags={"k": "v"})
            yield ctx.rfc("c", 3)
            ctx.rfi("d", 4)
            return "end"

        harness = Harness(fn)
        assert [c.param.headers[HEADER_FUNCTION] for c in creates(harness)] == ["a", "b", "c"]
        assert creates(harness)[1].tags["k"] == "v"
        harness.resolve("root.3")
        assert [c.id for c in creates(harness)][-1] == "root.4"
        assert harness.outcome is None, "it ends after its children"
        for id in ("root.1", "root.2", "root.4"):
            harness.resolve(id)
        assert harness.result == "end"

    def test_a_plain_function_may_start_calls_too(self) -> None:
        def fn(ctx: Any) -> str:
            ctx.rfi("a", 1)
            return "end"

        harness = Harness(fn)
        assert [c.id for c in creates(harness)] == ["root.1"]
        harness.resolve("root.1")
        assert harness.result == "end"

    def test_a_promise_is_settled_by_the_outside(self) -> None:
        def fn(ctx: Any) -> Any:
            given = yield ctx.promise(id="approval", timeout=5)
            own = yield ctx.promise()
            return [given.id, own.id, (yield given)]

        harness = Harness(fn)
        one, two = creates(harness)
        assert (one.id, two.id) == ("approval", "root.2")
        assert one.tags[TAG_EXTERNAL] == "true"
        assert one.timeout_at == START + 5000
        harness.resolve("approval", "yes")
        assert harness.result == ["approval", "root.2", "yes"], "a promise does not hold it up"

    def test_a_sleep_is_a_timer(self) -> None:
        def fn(ctx: Any) -> Any:
            return (yield ctx.sleep(2.5))

        harness = Harness(fn)
        (create,) = creates(harness)
        assert create.tags[TAG_TIMER] == "true"
        assert create.timeout_at == START + 2500
        harness.settle("root.1")
        assert harness.result is None

    def test_a_detached_call_is_a_root_of_its_own(self) -> None:
        def fn(ctx: Any) -> Any:
            promise = yield ctx.detached("bar", 1).options(timeout=10 * DAY_MS / 1000)
            return promise.id

        harness = Harness(fn)
        (create,) = creates(harness)
        assert TAG_ORIGIN not in create.tags
        assert create.tags[TAG_SCOPE] == "detached"
        assert create.timeout_at > harness.root.record.timeout_at, "its deadline is its own"
        assert harness.result == "root.1", "nobody waits for it"
