"""What the types of the testing kit are; checked by the normal run of mypy, never executed."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, assert_type

from understudy import Context, Runtime
from understudy.testing import (
    Clock,
    CrashReport,
    History,
    Repeated,
    Replayed,
    Stage,
    crash_everywhere,
    record,
    replay,
)

runtime = Runtime.local()


@runtime.register
def generator(ctx: Context, number: int, *, text: str = "") -> Generator[Any, Any, list[str]]:
    yield ctx.sleep(1)
    return [text] * number


@runtime.register
async def coroutine(ctx: Context, number: int) -> dict[str, int]:
    await ctx.sleep(1)
    return {"number": number}


@runtime.register
def plain(_: Context, number: int) -> float:
    return number / 2


def crashes() -> None:
    # the arguments are those of the function, and the result is its result
    assert_type(crash_everywhere(generator, 1, text="x"), CrashReport[list[str]])
    assert_type(crash_everywhere(coroutine, 1), CrashReport[dict[str, int]])
    assert_type(crash_everywhere(plain, 1), CrashReport[float])
    assert_type(crash_everywhere(plain, 1).result, float)
    assert_type(crash_everywhere(plain, 1).repeated, tuple[Repeated, ...])
    with_options = crash_everywhere.on(runtime, raises=(ValueError, OSError), outside=str.upper)
    assert_type(with_options(generator, 2).result, list[str])


def stage() -> None:
    with Stage(runtime) as stage:
        assert_type(stage, Stage)
        assert_type(stage.clock, Clock)
        assert_type(stage.clock.time, float)


def histories() -> None:
    assert_type(record("id"), History)
    assert_type(record("id", runtime), History)
    assert_type(replay(record("id"), plain), list[Replayed])
