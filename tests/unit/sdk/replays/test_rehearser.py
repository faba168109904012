"""Rehearsals of calls that were recorded on a stage, with code that has changed since."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest
import trio

from understudy import CommandError, Context, Promise, Runtime
from understudy.replays.record import Record
from understudy.replays.rehearsal import Verdict
from understudy.replays.rehearser import HANGS_MAX, Rehearser
from understudy.testing import Stage, record
from understudy_store.records import PromiseRecord

ran: list[str] = []
old = Runtime.local()


def charge(ctx: Context, cents: int) -> str:
    ran.append(ctx.id)
    return f"receipt for {cents}"


def pack(ctx: Context, items: int) -> Generator[Any, Any, Any]:
    yield ctx.run(charge, items)
    answer: Promise[Any] = yield ctx.promise()
    return (yield answer)


@old.register
def order(ctx: Context, cents: int) -> Generator[Any, Any, Any]:
    receipt = yield ctx.run(charge, cents)
    answer: Promise[Any] = yield ctx.promise()
    return receipt, (yield answer)


@old.register(name="coroutine", loop="asyncio")
async def coroutine(ctx: Context, cents: int) -> Any:
    receipt = await ctx.run(charge, cents)
    answer: Promise[Any] = await ctx.promise()
    return receipt, await answer


@old.register
def nested(ctx: Context, items: int) -> Generator[Any, Any, Any]:
    return (yield ctx.run(pack, items))


def recorded(fn: Callable[..., Any], *args: Any) -> tuple[PromiseRecord, Record]:
    with Stage(old):
        old.rpc("call-1", fn, *args)
        history = record("call-1", old)
    ran.clear()
    return history.promises[0], Record(history.promises)


def rehearse(
    call: tuple[PromiseRecord, Record], fn: Callable[..., Any], name: str, **options: Any
) -> Verdict:
    new = Runtime.local()
    new.register(fn, name=name, **options)
    verdict = Rehearser(new.session.env, 5.0).rehearse(*call)
    assert ran == [], "no step runs"
    return verdict


def test_the_same_code_goes_on() -> None:
    for fn, args, name, steps in (
        (order, (7,), "order", 2),
        (coroutine, (7,), "coroutine", 2),
        (nested, (7,), "nested", 1),
    ):
        verdict = Rehearser(old.session.env, 5.0).rehearse(*recorded(fn, *args))
        assert verdict == Verdict("call-1", name, 1, "goes_on", steps)
    assert ran == []


def sleepy(ctx: Context, cents: int) -> Generator[Any, Any, Any]:
    yield ctx.sleep(60)
    return (yield ctx.run(charge, cents))


def shorter(ctx: Context, cents: int) -> Generator[Any, Any, Any]:
    return (yield ctx.run(charge, cents))


async def hasty(ctx: Context, cents: int) -> Any:
    return await ctx.promise()


def became_plain(ctx: Context, cents: int) -> Any:
    raise AssertionError("it must not run")


@pytest.mark.parametrize(
    ("old_fn", "fn", "name", "step", "recorded_", "asked"),
    [
        (order, sleepy, "order", "call-1.1", "run charge", "sleep"),
        (order, shorter, "order", "call-1.2", "promise", "nothing: it ended"),
        (order, became_plain, "order", "call-1.1", "run charge", "nothing: it ended"),
        (coroutine, hasty, "coroutine", "call-1.1", "run charge", "promise"),
    ],
)
def test_code_that_makes_another_call_breaks_with_both_places(
    old_fn: Any, fn: Any, name: str, step: str, recorded_: str, asked: str
) -> None:
    verdict = rehearse(recorded(old_fn, 7), fn, name)
    assert (verdict.kind, verdict.step, verdict.recorded, verdict.asked) == (
        "mismatch", step, recorded_, asked,
    )  # fmt: skip
    assert "test_rehearser.py:" in verdict.recorded_at
    assert "test_rehearser.py:" in verdict.asked_at


def test_a_step_beyond_the_record_is_not_performed() -> None:
    def further(ctx: Context, cents: int) -> Generator[Any, Any, Any]:
        yield ctx.run(charge, cents)
        yield ctx.promise()
        yield ctx.run(charge, 1)

    assert rehearse(recorded(order, 7), further, "order").kind == "goes_on"


def test_a_step_under_way_that_makes_calls_is_a_part_of_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call = recorded(nested, 3)

    def pack(ctx: Context, items: int) -> Generator[Any, Any, Any]:
        yield ctx.sleep(60)

    monkeypatch.setitem(globals(), "pack", pack)
    verdict = Rehearser(old.session.env, 5.0).rehearse(*call)
    assert (verdict.kind, verdict.step, verdict.asked) == ("mismatch", "call-1.1.1", "sleep")


def test_a_function_a_version_or_a_parameter_that_is_gone() -> None:
    call = recorded(order, 7)
    gone = rehearse(call, order, "orders")
    assert gone.kind == "no_function"
    assert "order" in gone.text
    assert rehearse(call, order, "order", version=2).kind == "no_function"

    def fewer(ctx: Context) -> Generator[Any, Any, Any]:
        yield ctx.run(charge, 1)

    verdict = rehearse(call, fewer, "order")
    assert verdict.kind == "arguments"
    assert "does not take the arguments" in verdict.text


def test_a_record_that_may_not_be_read_is_told() -> None:
    task, _ = recorded(order, 7)
    refusal = CommandError(403, "call-1 is not among your ids")
    verdict = Rehearser(old.session.env, 5.0).rehearse(task, refusal)
    assert (verdict.kind, verdict.text) == (
        "skipped",
        "their records cannot be read: the call is not among your ids (status 403)",
    )


def test_code_that_fails_where_it_waited_is_told_with_the_line() -> None:
    def broken(ctx: Context, cents: int) -> Generator[Any, Any, Any]:
        yield ctx.run(charge, cents)
        yield ctx.promise()
        raise LookupError("no such shelf")

    verdict = rehearse(recorded(order, 7), broken, "order")
    assert verdict.kind == "fails"
    line = broken.__code__.co_firstlineno + 3
    assert f"test_rehearser.py:{line}: LookupError: no such shelf" in verdict.text


def test_a_dependency_of_the_node_may_be_passed_on_but_not_used_between_steps() -> None:
    def passes(ctx: Context, cents: int) -> Generator[Any, Any, Any]:
        yield ctx.run(charge, ctx.get_dependency("bank"))
        yield (yield ctx.promise())

    def uses(ctx: Context, cents: int) -> Generator[Any, Any, Any]:
        yield ctx.run(charge, cents)
        yield ctx.promise()
        ctx.get_dependency("bank").pay(cents)

    assert rehearse(recorded(order, 7), passes, "order").kind == "goes_on"
    verdict = rehearse(recorded(order, 7), uses, "order")
    assert verdict.kind == "fails"
    assert "the dependency 'bank' is set when a node starts" in verdict.text


def test_a_replay_that_hangs_ends_at_the_limit_and_others_go_on() -> None:
    released = threading.Event()

    def hung(ctx: Context, cents: int) -> Generator[Any, Any, Any]:
        released.wait()
        yield ctx.run(charge, cents)

    new = Runtime.local()
    new.register(hung, name="order")
    new.register(coroutine, name="coroutine", loop="asyncio")
    rehearser = Rehearser(new.session.env, 0.1)
    call = recorded(order, 7)
    try:
        verdicts = [rehearser.rehearse(*call) for _ in range(HANGS_MAX + 1)]
    finally:
        released.set()
    assert [each.kind for each in verdicts] == ["hangs"] * HANGS_MAX + ["skipped"]
    line = hung.__code__.co_firstlineno + 1
    assert "within 0.1 s, at" in verdicts[0].text
    assert f"test_rehearser.py:{line}" in verdicts[0].text
    assert rehearser.rehearse(*recorded(coroutine, 7)).kind == "goes_on"


def test_a_coroutine_that_awaits_something_else_ends_in_time_too() -> None:
    async def later(ctx: Context, cents: int) -> Any:
        await ctx.run(charge, cents)
        await ctx.promise()
        await trio.sleep_forever()

    async def before(ctx: Context, cents: int) -> Any:
        await asyncio.Event().wait()

    call = recorded(coroutine, 7)
    assert rehearse(call, later, "coroutine").kind == "goes_on", "all recorded calls were made"
    new = Runtime.local()
    new.register(before, name="coroutine", loop="asyncio")
    assert Rehearser(new.session.env, 0.1).rehearse(*call).kind == "hangs"
