"""Spans of a real node: on its threads, its loops, and while it is not traced."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from tests.unit.sdk.tracing.recorder import Recorder, id_of, parent_of, recording, trace_of
from understudy import Runtime
from understudy.context import Context

BREADTH = 30


def leaf(ctx: Context, number: int) -> int:
    """Return the number, within a span of its own."""
    with ctx.get_dependency("recorder").user.start_as_current_span("inner"):
        return number


def fan(ctx: Context) -> Generator[Any, Any, int]:
    """Call the leaf many times, on threads."""
    numbers = yield ctx.map("leaf", range(BREADTH))
    return sum(numbers)


async def co(ctx: Context) -> int:
    """Take a step and make a call, on a loop."""
    with ctx.get_dependency("recorder").user.start_as_current_span("own"):
        first: int = await ctx.run(leaf, 1)
    second: int = await ctx.rpc("leaf", first)
    return second


def run(recorder: Recorder) -> None:
    with Runtime.local() as runtime:
        for function in (leaf, fan, co):
            runtime.register(function)
        runtime.set_dependency("recorder", recorder)
        assert runtime.rpc("fan-1", fan).result() == sum(range(BREADTH))
        assert runtime.rpc("co-1", co).result() == 1


def test_the_spans_of_a_node() -> None:
    with recording() as recorder:
        run(recorder)
    of = {kind: recorder.all(f"{kind} leaf") for kind in ("call", "attempt", "step")}
    assert [len(spans) for spans in of.values()] == [BREADTH + 1, BREADTH + 1, 1]
    calls = {id_of(span) for span in of["call"]}
    assert {parent_of(span) for span in of["attempt"]} == calls
    around = {id_of(span) for span in (*of["attempt"], *of["step"])}
    assert {parent_of(span) for span in recorder.all("inner")} == around
    assert parent_of(of["step"][0]) == id_of(recorder.one("own"))
    assert parent_of(recorder.one("own")) == id_of(recorder.one("attempt co"))
    assert len({trace_of(span) for span in recorder.spans}) == 2
