"""What the nodes run. All that happens is written into a ledger, and any place can be held.

The test makes a file ``hold-PLACE`` in its folder; whoever comes to that place says so in the
ledger and stays until the file is gone. So a process is killed exactly where the test wants it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

from understudy import Context, Runtime

FOLDER_ENV: Final = "RECOVERY_FOLDER"
#: seconds between two looks at a file
LOOK_S: Final = 0.002

runtime = Runtime(group="g")
_ledgers: dict[str, int] = {}


def note(kind: str, name: str) -> None:
    """One line in the ledger: a single write, so that it outlives this process, whole."""
    folder = os.environ[FOLDER_ENV]
    fd = _ledgers.get(folder)
    if fd is None:
        path = Path(folder) / "ledger"
        fd = _ledgers[folder] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, f"{kind} {name} {os.getpid()} {time.monotonic()}\n".encode())


def place(name: str) -> None:
    """A place where the test may hold whoever comes by."""
    hold = Path(os.environ[FOLDER_ENV]) / f"hold-{name}"
    if hold.exists():
        note("held", name)
        while hold.exists():
            time.sleep(LOOK_S)


def step(ctx: Context, value: int) -> int:
    """A local step."""
    note("begin", ctx.id)
    place(f"step-{value}")
    note("end", ctx.id)
    return value


@runtime.register
def leaf(ctx: Context, value: int) -> int:
    """A remote step; held at ``leaf``."""
    note("begin", ctx.id)
    place("leaf")
    note("end", ctx.id)
    return value


@runtime.register
def echo(ctx: Context, value: bytes) -> bytes:
    """A leaf that returns what it is given."""
    note("begin", ctx.id)
    note("end", ctx.id)
    return value


@runtime.register
def echo_in_steps(ctx: Context, value: bytes) -> Generator[Any, Any, bytes]:
    """The same with a local step, a remote one and a short sleep."""
    yield ctx.lfc(step, 1)
    there: bytes = yield ctx.rfc("echo", value)
    yield ctx.sleep(0.02)
    yield ctx.lfc(slow_step)
    return there


def slow_step(ctx: Context) -> None:
    """Long enough to be under way when its node is told to stop."""
    note("begin", ctx.id)
    time.sleep(0.05)
    note("end", ctx.id)


@runtime.register
def who(ctx: Context) -> int:
    """A leaf whose result says which process's attempt was believed."""
    leaf(ctx, 0)
    return os.getpid()


@runtime.register
def who_stepped(ctx: Context) -> Generator[Any, Any, int]:
    """The same as a local step."""
    pid: int = yield ctx.lfc(who)
    return pid


@runtime.register
def steps(ctx: Context) -> Generator[Any, Any, list[int]]:
    """Two local steps and a remote one, with places before, between and after them."""
    place("body-0")
    one = yield ctx.lfc(step, 1)
    place("body-1")
    two = yield ctx.lfc(step, 2)
    place("body-2")
    three = yield ctx.rfc("leaf", 3)
    place("body-3")
    return [one, two, three]


@runtime.register
async def coroutine(ctx: Context) -> list[int]:
    """The same as `async def`."""
    place("body-0")
    one = await ctx.lfc(step, 1)
    place("body-1")
    two = await ctx.lfc(step, 2)
    place("body-2")
    three: int = await ctx.rfc("leaf", 3)
    place("body-3")
    return [one, two, three]


@runtime.register
def waits(ctx: Context) -> Generator[Any, Any, list[int]]:
    """A step, an answer from outside, a step."""
    one = yield ctx.lfc(step, 1)
    answer = yield (yield ctx.promise(id=f"{ctx.id}.answer"))
    three = yield ctx.lfc(step, 3)
    return [one, answer, three]


@runtime.register
def sleeps(ctx: Context, seconds: float) -> Generator[Any, Any, int]:
    """A durable sleep between two steps."""
    one = yield ctx.lfc(step, 1)
    yield ctx.sleep(seconds)
    two = yield ctx.lfc(step, 2)
    return int(one + two)


@runtime.register
def calls(ctx: Context, target: str) -> Generator[Any, Any, list[int]]:
    """A step here, and a leaf in another group."""
    one = yield ctx.lfc(step, 1)
    there = yield ctx.rfc("leaf", 7).options(target=target)
    place("called")
    return [one, there]


@runtime.register
def fan_out(ctx: Context, width: int) -> Generator[Any, Any, int]:
    """Many leaves at once."""
    values: list[int] = yield ctx.map("leaf", range(width))
    return sum(values)
