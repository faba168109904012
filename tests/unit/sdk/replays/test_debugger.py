"""Calls that were recorded on a stage, under pdb with its commands in a text."""

from __future__ import annotations

import bdb
import io
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
import trio

from understudy import Context, Never, Promise, Runtime
from understudy.replays.debugger import debug
from understudy.replays.prompt import Prompt
from understudy.replays.record import Record
from understudy.testing import Stage, record

runtime = Runtime.local()
ran: list[str] = []


def charge(ctx: Context, cents: int) -> str:
    ran.append("charge")
    return f"receipt for {cents}"


def pack(ctx: Context, items: int) -> Generator[Any, Any, Any]:
    yield ctx.run(charge, items)
    answer: Promise[Any] = yield ctx.promise()
    return (yield answer)


@runtime.register
def order(ctx: Context, cents: int) -> Generator[Any, Any, Any]:
    try:
        receipt = yield ctx.run(charge, cents)
        yield ctx.sleep(60)
        answer: Promise[Any] = yield ctx.promise()
        return receipt, (yield answer)
    finally:
        ran.append("finally")


@runtime.register
async def coroutine(ctx: Context, cents: int) -> Any:
    try:
        await trio.sleep(0)
        receipt = await ctx.run(charge, cents)
        answer: Promise[Any] = await ctx.promise()
        return receipt, await answer
    finally:
        ran.append("finally")


@runtime.register
def nested(ctx: Context, items: int) -> Generator[Any, Any, Any]:
    return (yield ctx.run(pack, items))


@runtime.register
def fails(ctx: Context, cents: int) -> Generator[Any, Any, Any]:
    receipt = yield ctx.run(charge, cents)
    raise LookupError(receipt)


@runtime.register(retry=Never())
def leaf(ctx: Context, cents: int) -> int:
    ran.append("leaf")
    return cents * 2


@pytest.fixture(autouse=True)
def no_breakpoints() -> Iterator[None]:
    """Forget breakpoints, which belong to the process."""
    yield
    bdb.Breakpoint.clearBreakpoints()


class Screen:
    """The output of a debugged call: the prompt's, and what is said around it."""

    def __init__(self) -> None:
        self.output = io.StringIO()
        self.code: int | None = None

    def say(self, text: str) -> None:
        self.output.write(text + "\n")

    @property
    def text(self) -> str:
        return self.output.getvalue()

    def answers(self) -> list[str]:
        """The answers to the commands, one for each prompt."""
        return [part.rstrip("\n") for part in self.text.split("(Pdb) ")][1:]


def session(
    fn: Callable[..., Any], *commands: str, at: str | None = None, code: Any = None
) -> Screen:
    """Debug a call of `fn`, with other code if there is any."""
    with Stage(runtime):
        handle = runtime.rpc("call-1", fn, 7)
        if fn in (fails, leaf):
            with suppress(LookupError):
                handle.result()
        history = record("call-1", runtime)
    ran.clear()
    used = runtime
    if code is not None:
        used = Runtime.local()
        used.register(code, name=fn.__name__)
    env = used.session.env
    screen = Screen()
    commands_ = io.StringIO("\n".join((*commands, "")))
    screen.code = debug(
        env,
        env.registry.get(fn.__name__),
        history.promises[0],
        Record(history.promises),
        say=screen.say,
        at=at,
        make=partial(Prompt, stdin=commands_, stdout=screen.output),
    )
    return screen


def test_it_stops_at_the_first_line_and_steps_over_what_the_record_answers() -> None:
    screen = session(order, "p cents", "n", "n", "p receipt", "q")
    line = order.__code__.co_firstlineno
    assert f"test_debugger.py({line + 2})order()" in screen.text
    assert f"test_debugger.py({line + 3})order()" in screen.text
    assert screen.answers()[0] == "7"
    assert screen.answers()[3] == "'receipt for 7'"
    assert ran == [], "neither a step nor the finally runs"
    assert screen.code == 0


def test_where_the_record_ends_it_says_so_and_shows_where_the_function_waits() -> None:
    screen = session(order, "c", "p receipt", "w")
    line = order.__code__.co_firstlineno
    assert "The record ends here. order waits for call-1.2 (sleep at" in screen.text
    assert "pending since 2030-01-01" in screen.text
    assert f"test_debugger.py({line + 4})order()" in screen.text
    assert screen.answers()[1] == "'receipt for 7'"
    assert "routine.py" not in screen.text, "frames of the library are not shown"
    assert ran == []


@pytest.mark.parametrize("at", ["1", "call-1.1", "charge", "run"])
def test_it_stops_right_before_a_step_and_goes_back(at: str) -> None:
    screen = session(order, "p cents", "n", "sb", "sb", "p 'first line'", "q", at=at)
    assert "Before step call-1.1, run charge: the record has run charge" in screen.text
    assert screen.text.count("Before step call-1.1") == 2, "once more by sb"
    assert screen.answers()[4] == "'first line'"
    assert ran == []


def test_a_count_for_stepback_and_run() -> None:
    screen = session(order, "c", "sb 2", "run", "sb x", "help sb", "q")
    assert screen.text.count("order()\n-> try:") == 2, "at first, and by run"
    assert "Before step call-1.1" in screen.text
    assert "*** stepback takes the number of steps" in screen.text
    assert "Go back to the step before" in screen.text


def test_breakpoints_outlive_the_way_back() -> None:
    line = order.__code__.co_firstlineno + 4
    screen = session(order, f"b {line}", "c", "run", "c", "q")
    assert screen.text.count(f"({line})order()\n-> yield ctx.sleep(60)") == 2


def test_a_coroutine_is_debugged_on_its_loop() -> None:
    screen = session(coroutine, "n", "n", "n", "p receipt", "c", "w", "sb", "w", "q")
    assert "'receipt for 7'" in screen.answers()
    assert "The record ends here. coroutine waits for call-1.2 (promise at" in screen.text
    assert "Before step call-1.2, promise" in screen.text
    assert ran == []


def test_a_step_under_way_that_makes_calls_is_shown_where_it_waits() -> None:
    screen = session(nested, "n", "q", at="call-1.1.2")
    assert "-> answer: Promise[Any] = yield ctx.promise()" in screen.text
    assert "-> return (yield answer)" in screen.text


def test_a_failure_is_shown_at_its_line() -> None:
    screen = session(fails, "c", "p receipt", "q")
    assert "fails fails here: LookupError: receipt for 7" in screen.text
    line = fails.__code__.co_firstlineno + 3
    assert f"({line})fails()\n-> raise LookupError(receipt)" in screen.text


def test_changed_code_is_shown_where_it_differs() -> None:
    def changed(ctx: Context, cents: int) -> Generator[Any, Any, Any]:
        yield ctx.sleep(60)

    screen = session(order, "c", "p cents", "q", code=changed)
    assert "Here the code and the record differ. NonDeterminismError: call-1.1:" in screen.text
    assert screen.answers()[1] == "7"
    assert screen.code == 1


def test_a_step_that_does_not_come_is_told() -> None:
    screen = session(order, "q", at="9")
    assert "Note: no step '9' was reached; the steps up to here: call-1.1, call-1.2." in screen.text


def test_a_plain_function_is_performed() -> None:
    screen = session(leaf, "n", "n", "c")
    assert ran == ["leaf"]
    assert "leaf returns, as recorded." in screen.text
    assert session(leaf, "q").code == 0
    assert ran == [], "not before it is stepped through"
