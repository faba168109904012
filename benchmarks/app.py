"""The functions that the benchmarks call, beyond those of `understudy bench`."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from understudy import Context, Promise
from understudy.bench.app import noop, runtime

__all__ = ["remembers", "runtime"]


@runtime.register
def remembers(ctx: Context, count: int) -> Generator[Any, Any, int]:
    """`count` stored steps, then a wait for the outside: what has to be replayed elsewhere."""
    promises: list[Promise[int]] = []
    for number in range(count):
        promise = yield ctx.lfi(noop, number)
        promises.append(promise)
    values: list[int] = yield ctx.all(promises)
    gate = yield ctx.promise(id=f"{ctx.id}.gate")
    yield gate
    return sum(values)
