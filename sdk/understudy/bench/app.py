"""The functions that the benchmarks call; nodes serve them as ``understudy.bench.app:runtime``."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from understudy import Context, Promise, Runtime

runtime = Runtime(group="bench")


@runtime.register
def noop(_: Context, value: int) -> int:
    """The cheapest call there is."""
    return value


@runtime.register
def echo(_: Context, data: bytes) -> bytes:
    """A payload there and back."""
    return data


@runtime.register
def fan_out(ctx: Context, calls: int) -> Generator[Any, Any, int]:
    """`calls` remote calls at once from one durable parent."""
    promises: list[Promise[int]] = []
    for number in range(calls):
        promise = yield ctx.rfi(noop, number)
        promises.append(promise)
    total = 0
    for promise in promises:
        total += yield promise
    return total


@runtime.register
def hop_a(ctx: Context) -> Generator[Any, Any, int]:
    """The first of a chain of three."""
    below = yield from ctx.rfc(hop_b)
    return below + 1


@runtime.register
def hop_b(ctx: Context) -> Generator[Any, Any, int]:
    """The second of a chain of three."""
    below = yield from ctx.rfc(hop_c)
    return below + 1


@runtime.register
def hop_c(_: Context) -> int:
    """The last of a chain of three."""
    return 1


@runtime.register
def steps(ctx: Context, count: int, together: bool) -> Generator[Any, Any, int]:
    """`count` stored local steps: one after the other, or sharing commits."""
    if not together:
        total = 0
        for number in range(count):
            total += yield ctx.lfc(noop, number)
        return total
    promises: list[Promise[int]] = []
    for number in range(count):
        promise = yield ctx.lfi(noop, number)
        promises.append(promise)
    values: list[int] = yield ctx.all(promises)
    return sum(values)
