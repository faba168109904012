"""A stage: runtimes without a broker, and a clock that skips waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
import trio.testing

from understudy import (
    CanceledError,
    ConfigurationError,
    Constant,
    Context,
    DeadlineExceededError,
    Promise,
    Runtime,
)
from understudy.testing import Stage, StuckError
from understudy_store.commands import TaskContinue

DAY_S = 86_400


def app() -> Runtime:
    runtime = Runtime(group="shop", url="tcp://127.0.0.1:9")
    for function in (remind, pause, double, asynchronous, ask, patient, calls_itself):
        runtime.register(function)
    runtime.register(flaky, retry=Constant(pause_s=60, max_attempts=3))
    runtime.set_dependency("runtime", runtime)
    return runtime


def remind(ctx: Context, days: int) -> Generator[Any, Any, list[tuple[int, float]]]:
    said = []
    for day in range(days):
        yield ctx.sleep(DAY_S)
        said.append((yield from ctx.run(say, day)))
    return said


def say(ctx: Context, day: int) -> tuple[int, float]:
    return day, ctx.time


def pause(ctx: Context, log: list[str], name: str, seconds: float) -> Generator[Any, Any, None]:
    yield ctx.sleep(seconds)
    ctx.get_dependency("log").append(name)


def double(_: Context, number: int) -> int:
    return number * 2


async def asynchronous(ctx: Context, number: int) -> int:
    await trio.sleep(0)
    doubled = await ctx.rpc(double, number)
    await ctx.sleep(3600)
    return doubled + 1


async def patient(ctx: Context) -> int:
    runtime: Runtime = ctx.get_dependency("runtime")
    return await runtime.rpc("inner", asynchronous, 4)


def ask(ctx: Context) -> Generator[Any, Any, Any]:
    answer: Promise[Any] = yield from ctx.promise(timeout=7 * DAY_S)
    return (yield answer)


def flaky(ctx: Context) -> int:
    if ctx.info.attempt < 3:
        raise ConnectionError("not yet")
    return ctx.info.attempt


def calls_itself(ctx: Context) -> int:
    """A leaf that uses the runtime that it runs on."""
    runtime: Runtime = ctx.get_dependency("runtime")
    handle = runtime.rpc("called-by-a-leaf", remind, 2)
    return len(handle.result())


# Time --------------------------------------------------------------------------------------------


def test_days_pass_at_once_and_ctx_time_follows() -> None:
    runtime = app()
    with Stage(runtime) as stage:
        began = stage.clock.time
        said = runtime.rpc("r", remind, 20).result()
        assert said == [(day, began + (day + 1) * DAY_S) for day in range(20)]
        assert stage.clock.time == began + 20 * DAY_S


def test_shorter_sleeps_end_first_whatever_their_order() -> None:
    runtime = app()
    log: list[str] = []
    runtime.set_dependency("log", log)
    with Stage(runtime):
        handles = [
            runtime.rpc(f"p-{seconds}", pause, [], f"{seconds}", seconds)
            for seconds in (9, 3, 27, 1, 81)
        ]
        handles[2].result()
        assert log == ["1", "3", "9", "27"]
        assert [handle.done() for handle in handles] == [True, True, True, True, False]


def test_time_stands_still_until_a_caller_waits() -> None:
    runtime = app()
    with Stage(runtime) as stage:
        began = stage.clock.now
        handle = runtime.rpc("r", remind, 1)
        runtime.rpc("d", double, 1)
        assert stage.clock.now == began == datetime(2030, 1, 1, tzinfo=UTC)
        assert not handle.done()
        assert runtime.get("d").done()


def test_advance_lets_things_happen_on_the_way_and_not_beyond() -> None:
    runtime = app()
    with Stage(runtime) as stage:
        handle = runtime.rpc("r", remind, 2)
        stage.clock.advance(timedelta(days=2) - timedelta(milliseconds=1))
        assert not handle.done()
        assert runtime.promises.get("r.2").state == "resolved"
        stage.clock.advance(0.001)
        assert handle.done()
        assert stage.clock.now == datetime(2030, 1, 3, tzinfo=UTC)
        with pytest.raises(ConfigurationError, match="duration"):
            stage.clock.advance(-1)


def test_deadlines_are_skipped_to() -> None:
    runtime = app()
    with Stage(runtime) as stage:
        began = stage.clock.time
        with pytest.raises(DeadlineExceededError, match=r"a\.1"):
            runtime.rpc("a", ask).result()
        assert stage.clock.time == began + 7 * DAY_S


def test_an_answer_from_outside_comes_before_time_passes() -> None:
    runtime = app()
    with Stage(runtime) as stage:
        handle = runtime.rpc("a", ask)
        runtime.promises.resolve("a.1", "yes")
        assert handle.done()
        assert handle.result() == "yes"
        assert stage.clock.time == datetime(2030, 1, 1, tzinfo=UTC).timestamp()


def test_retries_wait_on_the_same_clock() -> None:
    runtime = app()
    with Stage(runtime) as stage:
        began = stage.clock.time
        assert runtime.rpc("f", flaky).result() == 3
        assert stage.clock.time == began + 120


def release(*functions: Any) -> Runtime:
    """Make a runtime with these functions; what comes after a _ in their names is left out."""
    runtime = Runtime("shop")
    for function in functions:
        runtime.register(function, name=function.__name__.partition("_")[0])
    return runtime


def test_a_call_goes_only_to_the_runtimes_that_have_its_function() -> None:
    old, new = release(), release()
    for runtime in (old, new):
        runtime.register(lambda ctx: 1, name="known")
    new.register(lambda ctx: "new", name="fresh")
    with Stage(old, new):
        assert [old.rpc(f"f-{number}", "fresh").result() for number in range(5)] == ["new"] * 5
        late = old.rpc("late", "later")
        with pytest.raises(StuckError, match=r"1 call waits for the function 'later', which no"):
            late.result()
        new.register(lambda ctx: "now", name="later")
        assert late.result() == "now"


def test_a_deploy_and_the_way_back() -> None:
    def order(ctx: Context) -> Any:
        one = yield ctx.rpc("step", 1)
        yield ctx.sleep(3600)
        return one, (yield ctx.rpc("step", 2))

    def order_checked(ctx: Context) -> Any:
        yield ctx.rpc("check")
        return (yield from order(ctx))

    performed: list[int] = []

    def step(ctx: Context, number: int) -> int:
        performed.append(number)
        return number

    old, new = release(order, step), release(order_checked, step)
    new.register(lambda ctx: performed.append(0), name="check")
    with Stage(old) as stage:
        handle = old.rpc("o-1", "order")
        stage.deploy(new)
        with pytest.raises(StuckError, match="o-1 is parked: NonDeterminismError"):
            handle.result()
        assert performed == [1], "nothing of the new code has come of it"
        stage.deploy(old)
        old.session.command(TaskContinue("o-1"))
        assert handle.result() == (1, 2)
        assert performed == [1, 2]
        stage.deploy(new)
        assert new.rpc("o-2", "order").result() == (1, 2)
        assert performed == [1, 2, 0, 1, 2]


def test_a_timeout_counts_time_of_the_stage() -> None:
    runtime = app()
    with Stage(runtime) as stage:
        handle = runtime.rpc("r", remind, 1)
        with pytest.raises(TimeoutError, match="'r' is still pending after 3600 s"):
            handle.result(timeout=3600)
        assert stage.clock.now == datetime(2030, 1, 1, 1, tzinfo=UTC)
        assert len(handle.result(timeout=2 * DAY_S)) == 1


def test_schedules_follow_the_clock() -> None:
    runtime = app()
    with Stage(runtime, start=datetime(2031, 5, 5, 8, 30, tzinfo=UTC)) as stage:
        runtime.schedules.create("nightly", "0 3 * * *", double, 1)
        stage.clock.advance(timedelta(days=3))
        calls = list(runtime.promises.search(prefix="nightly."))
        assert [call.created_at.day for call in calls] == [6, 7, 8]
        assert {call.created_at.hour for call in calls} == {3}
        assert all(call.state == "resolved" for call in calls)


def test_a_clock_that_does_not_skip_says_so() -> None:
    runtime = app()
    with Stage(runtime) as stage:
        stage.clock.skips = False
        handle = runtime.rpc("r", remind, 1)
        with pytest.raises(StuckError, match=r"call clock\.advance first\npending:\n  r\n  r\.1"):
            handle.result()
        stage.clock.advance(DAY_S)
        assert len(handle.result()) == 1


def test_the_same_program_runs_in_the_same_order() -> None:
    courses = []
    for _ in range(2):
        runtime = app()
        with Stage(runtime) as stage:
            runtime.rpc("r", remind, 3)
            runtime.rpc("a", asynchronous, 3).result()
            runtime.get("r").result()
            courses.append([checkpoint.description for checkpoint in stage.simulator.checkpoints])
    assert courses[0] == courses[1]
    assert "the result of say r.2" in courses[0]


# Callers -----------------------------------------------------------------------------------------


async def test_a_caller_under_trio() -> None:
    runtime = app()
    with Stage(runtime):
        assert await runtime.rpc("a", asynchronous, 4) == 9
        assert len(await runtime.rpc("r", remind, 3)) == 3


async def test_a_task_answers_what_another_task_waits_for() -> None:
    runtime = app()
    answers = []

    async def wait() -> None:
        answers.append(await runtime.rpc("a", ask))

    with Stage(runtime) as stage:
        stage.clock.skips = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            runtime.promises.resolve("a.1", "yes")
    assert answers == ["yes"]


def test_a_caller_under_asyncio() -> None:
    runtime = app()

    async def call() -> int:
        return await runtime.rpc("a", asynchronous, 4)

    with Stage(runtime):
        assert asyncio.run(call()) == 9


def test_an_async_function_awaits_a_call_from_outside() -> None:
    runtime = app()
    with Stage(runtime):
        assert runtime.rpc("p", patient).result() == 9


def test_a_leaf_waits_for_a_call_on_its_own_runtime() -> None:
    runtime = app()
    with Stage(runtime):
        assert runtime.rpc("c", calls_itself).result() == 2


def test_another_thread_uses_the_runtime_while_a_function_blocks() -> None:
    runtime = app()
    runtime.register(blocks)
    begun, may_end = threading.Event(), threading.Event()
    runtime.set_dependency("events", (begun, may_end))
    answers = []

    def call() -> None:
        begun.wait(10)
        answers.append(runtime.rpc("d", double, 4).result())
        may_end.set()

    with Stage(runtime) as stage:
        thread = threading.Thread(target=call)
        thread.start()
        runtime.rpc("r", remind, 1)
        began = stage.clock.time
        assert runtime.rpc("b", blocks).result()
        thread.join()
        assert answers == [8]
        assert stage.clock.time == began


def blocks(ctx: Context) -> bool:
    begun, may_end = ctx.get_dependency("events")
    begun.set()
    return bool(may_end.wait(10))


# Groups and runtimes -----------------------------------------------------------------------------


def test_several_groups() -> None:
    shop, bank = app(), Runtime(group="bank", url="tcp://127.0.0.1:9")
    bank.register(lambda _, amount: f"charged {amount}", name="charge")
    shop.register(buy)
    with Stage(shop, bank):
        assert shop.rpc("b", buy).result() == "charged 7"
        assert {group.name for group in shop.groups().groups} == {"shop", "bank"}


def buy(ctx: Context) -> Generator[Any, Any, Any]:
    return (yield from ctx.rpc("charge", 7).options(target="bank"))


def test_a_group_without_nodes_is_named() -> None:
    runtime = app()
    runtime.register(buy)
    with (
        Stage(runtime),
        pytest.raises(
            StuckError,
            match=r"1 call waits for a node of group 'bank', which nobody serves here "
            r"\(served: shop\)(.|\n)*Runtime\(group='bank'\)\npending:\n  b\n  b\.1",
        ),
    ):
        runtime.rpc("b", buy).result()


async def test_a_group_without_nodes_is_named_to_async_callers_too() -> None:
    runtime = app()
    runtime.register(buy)
    with Stage(runtime), pytest.raises(StuckError, match="nobody serves here"):
        await runtime.rpc("b", buy)


def test_nothing_is_left_behind() -> None:
    runtime = app()
    clock = runtime.session.env.now_ms
    for _ in range(2):
        with Stage(runtime):
            assert runtime.rpc("d", double, 21).result() == 42
            assert len(list(runtime.promises.search())) == 1
    assert not runtime.session.started
    assert runtime.session.env.now_ms is clock


def test_the_lifetime_calls_of_a_runtime_do_no_harm() -> None:
    runtime = Runtime.local()
    runtime.register(double)
    with Stage(runtime), runtime:
        assert runtime.rpc("d", double, 1).result() == 2
        runtime.stop()
        assert runtime.run("e", double, 2).result() == 4


def test_waiting_functions_are_closed_at_the_end() -> None:
    runtime = app()
    closed = []

    @runtime.register
    def waits(ctx: Context) -> Generator[Any, Any, None]:
        try:
            yield ctx.sleep(1)
        finally:
            closed.append(ctx.id)

    with Stage(runtime) as stage:
        handle = runtime.rpc("w", waits)
        assert closed == []
    assert closed == ["w"]
    with pytest.raises(StuckError, match="closed"):
        handle.result()
    with pytest.raises(StuckError, match="closed"):
        stage.rest()


def test_cancel_reaches_the_function() -> None:
    runtime = app()
    with Stage(runtime):
        handle = runtime.rpc("r", remind, 3)
        handle.cancel()
        with pytest.raises(CanceledError):
            handle.result()


def test_a_runtime_that_is_connected_cannot_go_on_a_stage() -> None:
    runtime = Runtime.local()
    other = app()
    with runtime:
        with (
            pytest.raises(ConfigurationError, match="has connected already"),
            Stage(other, runtime),
        ):
            pass
        assert not other.session.started
    with Stage(runtime):
        runtime.register(double)
        assert runtime.rpc("d", double, 4).result() == 8


def test_a_start_without_a_zone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no time zone"):
        Stage(start=datetime(2030, 1, 1))  # noqa: DTZ001


def test_arguments_of_a_race_count_as_yielded(caplog: pytest.LogCaptureFixture) -> None:
    runtime = app()

    @runtime.register
    def races(ctx: Context) -> Generator[Any, Any, Any]:
        promise = yield ctx.promise()
        yield ctx.race([promise, ctx.sleep(5)])
        return (yield ctx.race([promise, ctx.rpc(double, 5)]))

    with Stage(runtime):
        assert runtime.rpc("r", races).result() == 10
    assert caplog.messages == []
