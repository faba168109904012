"""A user's keyword arguments are never taken for parameters of the library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from understudy import Context, InvalidArgumentsError, Runtime
from understudy.testing import Stage, crash_everywhere

#: Names of parameters of the library, and other likely ones.
NAMES: Any = {
    "self": 1,
    "f": 2,
    "fn": 3,
    "func": 4,
    "function": 5,
    "id": 6,
    "name": 7,
    "cron": 8,
    "args": 9,
    "kwargs": 10,
    "kw": 11,
    "timeout": 12,
    "target": 13,
    "options": 14,
    "tags": 15,
    "retry": 16,
    "version": 17,
    "delay": 18,
    "priority": 19,
    "promise_id": 20,
    "kind": 21,
    "site": 22,
    "env": 23,
    "wait": 24,
    "ctx": 25,
}


def _echo(context: Context, **kwargs: int) -> dict[str, int]:
    return kwargs


#: It takes everything, which type checkers cannot express.
echo: Any = _echo


def named(
    context: Context,
    self: int,
    f: int,
    id: int,
    func: int,
    name: int,
    args: int,
    kwargs: int,
    timeout: int,
    ctx: int,
    promise_id: int,
) -> list[int]:
    return [self, f, id, func, name, args, kwargs, timeout, ctx, promise_id]


NAMED: Any = {
    name: number
    for number, name in enumerate(
        ("self", "f", "id", "func", "name", "args", "kwargs", "timeout", "ctx", "promise_id")
    )
}


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    runtime = Runtime("shop")
    runtime.register(echo, name="echo")
    runtime.register(named)
    with Stage(runtime):
        yield runtime


@pytest.mark.parametrize("method", ["rpc", "run", "begin_rpc", "begin_run"])
@pytest.mark.parametrize("by", [echo, "echo"])
def test_calls_from_outside(runtime: Runtime, method: str, by: Any) -> None:
    assert getattr(runtime, method)("x", by, **NAMES).result() == NAMES


def test_parameters_that_are_named_like_ours(runtime: Runtime) -> None:
    assert runtime.rpc("x", named, **NAMED).result() == list(range(len(NAMED)))
    assert crash_everywhere(named, **NAMED).result == list(range(len(NAMED)))


@pytest.mark.parametrize("method", ["rfi", "rfc", "detached", "lfi", "lfc", "rpc", "run"])
def test_calls_inside_a_function(runtime: Runtime, method: str) -> None:
    def caller(ctx: Context) -> Any:
        found = yield getattr(ctx, method)(echo, **NAMES)
        return found if isinstance(found, dict) else (yield found)

    assert runtime.run("x", caller).result() == NAMES


@pytest.mark.parametrize("by", [echo, "echo", "unknown here"])
def test_calls_of_a_schedule(runtime: Runtime, by: Any) -> None:
    schedule = runtime.schedules.create("s", "* * * * *", by, **NAMES)
    assert schedule.promise_id == "{id}.{timestamp}"
    runtime.register(echo, name="unknown here")
    [call] = first_calls(runtime)
    assert runtime.get(call).result() == NAMES


def first_calls(runtime: Runtime) -> list[str]:
    """Let one occurrence come due, and return its calls."""
    with pytest.raises(TimeoutError):
        runtime.options(delay=3600).rpc("later", echo).result(timeout=61)
    return [promise.id for promise in runtime.promises.search(prefix="s.")][:1]


class TestPromiseIdOfSchedules:
    def test_is_an_option(self, runtime: Runtime) -> None:
        named = runtime.schedules.options(promise_id="report-{timestamp}")
        assert named.create("s", "* * * * *", echo, a=1).promise_id == "report-{timestamp}"
        assert runtime.schedules.create("t", "* * * * *", echo).promise_id == "{id}.{timestamp}"

    def test_the_old_keyword_works_with_a_warning(self, runtime: Runtime) -> None:
        def report(ctx: Context, of: str) -> None: ...

        runtime.register(report)
        create: Any = runtime.schedules.create
        for by in (report, "report"):
            with pytest.warns(DeprecationWarning, match=r"schedules\.options\(promise_id="):
                made = create(f"s-{by}", "* * * * *", by, "sales", promise_id="r-{timestamp}")
            assert made.promise_id == "r-{timestamp}"

    def test_it_is_the_functions_own_where_that_has_a_parameter_of_the_name(
        self, runtime: Runtime
    ) -> None:
        def settle(ctx: Context, promise_id: str) -> None: ...

        runtime.register(settle)
        made = runtime.schedules.create("s", "* * * * *", settle, promise_id="p")
        assert made.promise_id == "{id}.{timestamp}"


def test_an_option_is_no_keyword_of_a_call(runtime: Runtime) -> None:
    def strict(ctx: Context) -> None: ...

    runtime.register(strict)
    call: Any = runtime.rpc
    with pytest.raises(InvalidArgumentsError, match="timeout"):
        call("x", strict, timeout=5)
