"""The programs of the nodes: small ones whose results show the attempts that they consist of.

Every step is `leaf`: it records in the ledger that it begins, does its work, records that it has
ended, and returns a *token*: its own id and a random part. So each attempt differs from every
other, and the result of a program, a list of its steps' tokens, shows which attempts were stored.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

from tests.chaos.ledger import Ledger
from understudy import Constant, Context, Runtime

LEFT, RIGHT = "left", "right"
#: The group whose nodes suffer nothing, so that its calls show what brokers alone make them wait.
STEADY: Final = "steady"
#: The first letters of the ids of its calls.
PROBE: Final = "probe"
#: The environment variable with the path of the nodes' ledger.
LEDGER_ENV: Final = "CHAOS_LEDGER"
#: The shortest and the longest duration of an attempt in milliseconds; its id decides.
WORK_MS: Final = (5, 80)
#: Failures of a stubborn step before it succeeds.
FAILURES: Final = 2

Program = Generator[Any, Any, list[str]]

runtime = Runtime(group=LEFT)
_ledger = Ledger(Path(os.environ.get(LEDGER_ENV, os.devnull)))


@runtime.register
def leaf(ctx: Context, failures: int = 0) -> str:
    """Perform one step; raise in its first `failures` attempts."""
    token = f"{ctx.id} {secrets.token_hex(6)}"
    _ledger.write("begin", ctx.id, token)
    low, high = WORK_MS
    if not ctx.id.startswith(PROBE):
        time.sleep((low + zlib.crc32(ctx.id.encode()) % (high - low)) / 1000)
    if ctx.info.attempt <= failures:
        _ledger.write("raise", ctx.id, token)
        raise ConnectionError("not yet")
    _ledger.write("end", ctx.id, token)
    return token


@runtime.register
def chain(ctx: Context, depth: int) -> Program:
    """Chain calls from group to group."""
    target = LEFT if depth % 2 else RIGHT
    if depth == 0:
        return [(yield ctx.rfc("leaf").options(target=target))]
    below: list[str] = yield ctx.rfc("chain", depth - 1).options(target=target)
    return below


@runtime.register
def fan_out(ctx: Context, width: int) -> Program:
    """Make many calls at once, to both groups."""
    promises = []
    for number in range(width):
        target = LEFT if number % 2 else RIGHT
        promises.append((yield ctx.rfi("leaf").options(target=target)))
    tokens: list[str] = yield ctx.all(promises)
    return tokens


@runtime.register
def scattered(ctx: Context, width: int) -> Program:
    """Make calls whose promises have homes of their own, and so are at any broker."""
    promises = []
    for number in range(width):
        home = f"far{number}-{ctx.id}"
        promises.append((yield ctx.rfi("leaf").options(target=RIGHT, home=home)))
    tokens: list[str] = yield ctx.all(promises)
    return tokens


@runtime.register
def probe(ctx: Context, count: int) -> Program:
    """Run quick steps, to see how long a call takes."""
    return (yield from steps(ctx, count))


@runtime.register
def steps(ctx: Context, count: int) -> Program:
    """Run local steps, one after the other."""
    tokens: list[str] = []
    while len(tokens) < count:
        tokens.append((yield ctx.lfc(leaf)))
    return tokens


@runtime.register
def sleeper(ctx: Context, milliseconds: int) -> Program:
    """Run a step before a durable sleep, and one after it."""
    before: str = yield ctx.lfc(leaf)
    yield ctx.sleep(milliseconds / 1000)
    after: str = yield ctx.rfc("leaf").options(target=RIGHT)
    return [before, after]


@runtime.register
def stubborn(ctx: Context, failures: int) -> Program:
    """Run steps that fail before they succeed, remote and local ones."""
    again = Constant(pause_s=0.02, max_attempts=None)
    there: str = yield ctx.rfc("leaf", failures).options(target=RIGHT, retry=again)
    here: str = yield ctx.lfc(leaf, failures).options(retry=again)
    return [there, here]


@runtime.register
def tree(ctx: Context, depth: int) -> Program:
    """Call itself, with a step at each leaf."""
    if depth == 0:
        return [(yield ctx.lfc(leaf))]
    left = yield ctx.rfi("tree", depth - 1).options(target=LEFT)
    right = yield ctx.rfi("tree", depth - 1).options(target=RIGHT)
    tokens: list[str] = (yield left) + (yield right)
    return tokens


@runtime.register
async def coroutine(ctx: Context, count: int) -> list[str]:
    """Make calls from an ``async def`` function."""
    tokens = []
    for _ in range(count):
        tokens.append(await ctx.lfc(leaf))
        tokens.append(await ctx.rfc(leaf).options(target=LEFT))
    return tokens


@runtime.register(loop="asyncio")
async def team(ctx: Context, members: int) -> list[str]:
    """Make calls in tasks that run side by side."""

    async def member() -> list[str]:
        here: str = await ctx.lfc(leaf)
        there: str = await ctx.rfc("leaf").options(target=RIGHT)
        return [here, there]

    tokens = await asyncio.gather(*(member() for _ in range(members)))
    return [*tokens[0], *tokens[1]]


def _tree_ids(id: str, depth: int) -> list[str]:
    if depth == 0:
        return [f"{id}.1"]
    return _tree_ids(f"{id}.1", depth - 1) + _tree_ids(f"{id}.2", depth - 1)


#: Each program, its argument, and a function from a call's id to the steps in the call's result.
PROGRAMS: Final[list[tuple[str, int, Callable[[str], list[str]]]]] = [
    ("chain", 3, lambda id: [f"{id}.1.1.1.1"]),
    ("fan_out", 5, lambda id: [f"{id}.{n}" for n in range(1, 6)]),
    ("scattered", 3, lambda id: [f"far{n - 1}-{id}.{id}.{n}" for n in range(1, 4)]),
    ("steps", 4, lambda id: [f"{id}.{n}" for n in range(1, 5)]),
    ("sleeper", 150, lambda id: [f"{id}.1", f"{id}.3"]),
    ("stubborn", FAILURES, lambda id: [f"{id}.1", f"{id}.2"]),
    ("tree", 2, lambda id: _tree_ids(id, 2)),
    ("coroutine", 2, lambda id: [f"{id}.{n}" for n in range(1, 5)]),
    ("team", 2, lambda id: [f"{id}.member-{task}.{n}" for task in (1, 2) for n in (1, 2)]),
]


def program_of(id: str, seed: int) -> tuple[str, int, Callable[[str], list[str]]]:
    """Return the program of the call `id`, which depends on the id alone."""
    if id.startswith(PROBE):
        return "probe", 1, lambda id: [f"{id}.1"]
    return PROGRAMS[zlib.crc32(f"{seed} {id}".encode()) % len(PROGRAMS)]


def target_of(id: str) -> str:
    """Return the group that performs the call `id`."""
    if id.startswith(PROBE):
        return STEADY
    return LEFT if len(id) % 2 else RIGHT


def expected_ids(id: str, seed: int) -> list[str]:
    """Return the steps in the result of the call `id`, in order."""
    return program_of(id, seed)[2](id)
