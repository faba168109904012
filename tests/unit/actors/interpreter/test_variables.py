"""Context variables: each run has its own, and keeps them over its waits."""

from __future__ import annotations

import decimal
from contextvars import ContextVar
from typing import Any

from tests.unit.actors.interpreter.harness import START, Harness, environment
from understudy.retry import Constant
from understudy_actors.interpreter.requests import CallSpec
from understudy_actors.interpreter.routine import Routine, local_routine
from understudy_actors.interpreter.step_result import LocalStart

NAME: ContextVar[str] = ContextVar("NAME", default="nobody")


def whoever(ctx: Any) -> str:
    return NAME.get()


def rename(ctx: Any, name: str) -> str:
    before = NAME.get()
    NAME.set(name)
    return f"{before} to {NAME.get()}"


def test_runs_that_take_turns_keep_their_own() -> None:
    def serve(ctx: Any, name: str) -> Any:
        NAME.set(name)
        decimal.getcontext().prec = len(name)
        for _ in range(3):
            yield ctx.promise()
            yield ctx.rfc("wait")
            seen.append((NAME.get(), decimal.getcontext().prec))
        return NAME.get()

    seen: list[tuple[str, int]] = []
    env = environment()
    runs = {name: Harness(serve, name, env=env) for name in ("ann", "cleo")}
    for n in range(3):
        for harness in runs.values():
            harness.resolve(f"root.{2 * n + 2}")
    assert [harness.result for harness in runs.values()] == ["ann", "cleo"]
    assert seen == [("ann", 3), ("cleo", 4)] * 3
    assert (NAME.get(), decimal.getcontext().prec) == ("nobody", 28), (
        "the thread's own are as before"
    )


def test_a_plain_function_leaves_nothing_behind() -> None:
    assert Harness(rename, "ann").result == "nobody to ann"
    assert Harness(whoever).result == "nobody"


def test_a_step_has_a_copy_of_its_callers() -> None:
    def fn(ctx: Any) -> Any:
        NAME.set("ann")
        renamed = yield ctx.lfc(rename, "bob")
        return renamed, (yield ctx.lfc(whoever)), NAME.get()

    assert Harness(fn).result == ("ann to bob", "ann", "ann")


def test_the_copy_is_made_where_the_step_is_called() -> None:
    def fn(ctx: Any) -> Any:
        NAME.set("ann")
        first = ctx.lfi(whoever)
        NAME.set("bob")
        second = yield ctx.lfi(whoever)
        NAME.set("cleo")
        return [(yield (yield first)), (yield second)]

    assert Harness(fn).result == ["ann", "bob"]


def test_the_steps_of_a_step_inherit_too() -> None:
    def outer(ctx: Any) -> Any:
        NAME.set(NAME.get() + "+")
        return (yield ctx.lfc(whoever))

    def fn(ctx: Any) -> Any:
        NAME.set("ann")
        return (yield ctx.lfc(outer)), NAME.get()

    assert Harness(fn).result == ("ann+", "ann")


def test_each_attempt_of_a_step_begins_with_the_callers() -> None:
    def flaky(ctx: Any) -> None:
        seen.append(NAME.get())
        NAME.set("left behind")
        raise OSError

    seen: list[str] = []
    env = environment()
    function = env.registry.register(flaky, retry=Constant(0))
    spec = CallSpec("lfc", "root.1", "flaky", "here")
    spec.function = function
    caller = Harness(lambda ctx: None, env=env).root
    caller.variables.run(NAME.set, "ann")
    spec.variables = caller.variables.copy()
    routine = local_routine(caller, LocalStart(function, spec, caller.record, START))
    for _ in range(3):
        assert routine.step(START).retry_after_s == 0
        routine = routine.next_attempt()
    assert seen == ["ann"] * 3


def test_a_replay_sets_them_again() -> None:
    def fn(ctx: Any, name: str) -> Any:
        NAME.set(name)
        yield ctx.rfc("a")
        NAME.set(NAME.get() + "!")
        return (yield ctx.lfc(whoever))

    first = Harness(fn, "ann")
    assert first.outcome is None
    first.resolve("root.1")
    again = Harness(fn, "ann", env=first.env, records=first.promises.values())
    assert first.result == again.result == "ann!"


def test_clean_up_code_sees_them() -> None:
    def fn(ctx: Any) -> Any:
        NAME.set("ann")
        try:
            yield ctx.rfc("a")
        finally:
            seen.append(NAME.get())

    seen: list[str] = []
    root = Harness(fn).root
    root.is_over = True
    root.close()
    assert seen == ["ann"]


def test_combinators_pass_them_on() -> None:
    def fn(ctx: Any) -> Any:
        NAME.set("ann")
        both = yield ctx.all([ctx.lfi(whoever), ctx.lfi(whoever)])
        return both, (yield ctx.race([ctx.lfi(whoever)]))

    assert Harness(fn).result == (["ann", "ann"], "ann")


def test_a_routine_that_never_ran_is_closed_without_them() -> None:
    routine: Routine = Harness(whoever).root.next_attempt()
    routine.close()
    assert routine.dropped
