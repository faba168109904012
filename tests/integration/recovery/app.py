"""The app of the nodes. Its steps are written to a ledger, and may be held at named places.

A test creates the file ``hold-PLACE`` in its folder. A function that comes to that place notes it
in the ledger, and waits until the file is gone. So a test kills a process exactly where it wants.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

from understudy import Context, Runtime

FOLDER_ENV: Final = "RECOVERY_FOLDER"
#: seconds between two checks for a file
LOOK_S: Final = 0.002

runtime = Runtime(group="g")
_ledgers: dict[str, int] = {}


def note(kind: str, name: str) -> None:
    """Append a line to the ledger with a single write, so that a kill cannot tear it."""
    folder = os.environ[FOLDER_ENV]
    fd = _ledgers.get(folder)
    if fd is None:
        path = Path(folder) / "ledger"
        fd = _ledgers[folder] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, f"{kind} {name} {os.getpid()} {time.monotonic()}\n".encode())


def place(name: str) -> None:
    """Wait while the test holds this place."""
    hold = Path(os.environ[FOLDER_ENV]) / f"hold-{name}"
    if hold.exists():
        note("held", name)
        while hold.exists():
            time.sleep(LOOK_S)


def step(ctx: Context, value: int) -> int:
    """Perform a local step."""
    note("begin", ctx.id)
    place(f"step-{value}")
    note("end", ctx.id)
    return value


@runtime.register
def leaf(ctx: Context, value: int) -> int:
    """Perform a remote step; it may be held at ``leaf``."""
    note("begin", ctx.id)
    place("leaf")
    note("end", ctx.id)
    return value


@runtime.register
def echo(ctx: Context, value: bytes) -> bytes:
    """Return the argument."""
    note("begin", ctx.id)
    note("end", ctx.id)
    return value


@runtime.register
def echo_in_steps(ctx: Context, value: bytes) -> Generator[Any, Any, bytes]:
    """Return the argument after a local step, a remote one and a short sleep."""
    yield ctx.lfc(step, 1)
    there: bytes = yield ctx.rfc("echo", value)
    yield ctx.sleep(0.02)
    yield ctx.lfc(slow_step)
    return there


def slow_step(ctx: Context) -> None:
    """Take long enough to be under way when the node is told to stop."""
    note("begin", ctx.id)
    time.sleep(0.05)
    note("end", ctx.id)


@runtime.register
def who(ctx: Context) -> int:
    """Return the process id, which tells whose attempt was accepted."""
    leaf(ctx, 0)
    return os.getpid()


@runtime.register
def who_stepped(ctx: Context) -> Generator[Any, Any, int]:
    """Return the process id of a local step."""
    pid: int = yield ctx.lfc(who)
    return pid


@runtime.register
def steps(ctx: Context) -> Generator[Any, Any, list[int]]:
    """Perform two local steps and a remote one, with places before, between and after them."""
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
    """Do the same as an ``async def``."""
    place("body-0")
    one = await ctx.lfc(step, 1)
    place("body-1")
    two = await ctx.lfc(step, 2)
    place("body-2")
    three: int = await ctx.rfc("leaf", 3)
    place("body-3")
    return [one, two, three]


@runtime.register
def hold_interpreter(ctx: Context, seconds: float) -> int:
    """Keep every other thread of the process from running Python, as a regular expression may."""
    note("begin", ctx.id)
    # PyDLL calls a function of C without letting go of the interpreter.
    ctypes.PyDLL(None).poll(None, 0, int(seconds * 1000))
    place("held")
    return os.getpid()


@runtime.register
def waits(ctx: Context) -> Generator[Any, Any, list[int]]:
    """Perform a step, wait for an answer from outside, perform another step."""
    one = yield ctx.lfc(step, 1)
    answer = yield (yield ctx.promise(id=f"{ctx.id}.answer"))
    three = yield ctx.lfc(step, 3)
    return [one, answer, three]


@runtime.register
def hands_over(ctx: Context) -> Generator[Any, Any, int]:
    """Make a detached call under an id of its own, and wait for an answer from outside."""
    yield ctx.detached(leaf, 1).options(id=f"{ctx.id}-audit")
    answer: int = yield (yield ctx.promise(id=f"{ctx.id}.answer"))
    return answer


@runtime.register
def sleeps(ctx: Context, seconds: float) -> Generator[Any, Any, int]:
    """Sleep durably between two steps."""
    one = yield ctx.lfc(step, 1)
    yield ctx.sleep(seconds)
    two = yield ctx.lfc(step, 2)
    return int(one + two)


@runtime.register
def calls(ctx: Context, target: str) -> Generator[Any, Any, list[int]]:
    """Perform a local step, and call a leaf in another group."""
    one = yield ctx.lfc(step, 1)
    there = yield ctx.rfc("leaf", 7).options(target=target)
    place("called")
    return [one, there]


@runtime.register
def fan_out(ctx: Context, width: int) -> Generator[Any, Any, int]:
    """Call many leaves at once."""
    values: list[int] = yield ctx.map("leaf", range(width))
    return sum(values)
