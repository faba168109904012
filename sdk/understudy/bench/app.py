"""The functions that the workloads call; nodes serve them as ``understudy.bench.app:runtime``."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from understudy import Context, Promise, Runtime

runtime = Runtime(group="bench")


@runtime.register
def noop(_: Context, value: int) -> int:
    """Return the argument: the cheapest possible call."""
    return value


@runtime.register
def echo(_: Context, data: bytes) -> bytes:
    """Return the payload."""
    return data


@runtime.register
def fan_out(ctx: Context, calls: int) -> Generator[Any, Any, int]:
    """Make `calls` remote calls at once and add up their results."""
    promises: list[Promise[int]] = []
    for number in range(calls):
        promise = yield ctx.begin_rpc(noop, number)
        promises.append(promise)
    total = 0
    for promise in promises:
        total += yield promise
    return total


@runtime.register
def hop_a(ctx: Context) -> Generator[Any, Any, int]:
    """Call the second of a chain of three."""
    below = yield from ctx.rpc(hop_b)
    return below + 1


@runtime.register
def hop_b(ctx: Context) -> Generator[Any, Any, int]:
    """Call the last of a chain of three."""
    below = yield from ctx.rpc(hop_c)
    return below + 1


@runtime.register
def hop_c(_: Context) -> int:
    """End a chain of three."""
    return 1


@runtime.register
def steps(ctx: Context, count: int, together: bool) -> Generator[Any, Any, int]:
    """Run `count` stored local steps: one after the other, or together, sharing commits."""
    if not together:
        total = 0
        for number in range(count):
            total += yield ctx.run(noop, number)
        return total
    promises: list[Promise[int]] = []
    for number in range(count):
        promise = yield ctx.begin_run(noop, number)
        promises.append(promise)
    values: list[int] = yield ctx.all(promises)
    return sum(values)
