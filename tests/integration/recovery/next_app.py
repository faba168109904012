"""The app of the nodes as its next release has it: a function more, and one whose calls changed."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

from tests.integration.recovery.app import echo, echo_in_steps, leaf, note, step, who
from understudy import Context, Runtime

runtime = Runtime(group="g")
for unchanged in (echo, echo_in_steps, leaf, who):
    runtime.register(unchanged)


@runtime.register
def refund(ctx: Context) -> int:
    """Return the process id; the release before does not know this function."""
    note("begin", ctx.id)
    return os.getpid()


def check(ctx: Context) -> None:
    """Perform the local step that is new."""
    note("begin", f"check-{ctx.id}")


@runtime.register
def waits(ctx: Context) -> Generator[Any, Any, list[int]]:
    """Do the same as before, after a check."""
    yield ctx.run(check)
    one = yield ctx.run(step, 1)
    answer = yield (yield ctx.promise(id=f"{ctx.id}.answer"))
    three = yield ctx.run(step, 3)
    return [one, answer, three]


@runtime.register
def hands_over(ctx: Context) -> Generator[Any, Any, int]:
    """Do the same as before, with another id."""
    yield ctx.detached(leaf, 1).options(id=f"{ctx.id}-check")
    answer: int = yield (yield ctx.promise(id=f"{ctx.id}.answer"))
    return answer
