"""The functions that the benchmarks call, beyond those of `understudy bench`."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

from understudy import Context, Promise
from understudy.bench.app import noop, runtime

__all__ = ["remembers", "runtime", "threads"]


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


@runtime.register
def threads(_: Context) -> dict[int, str]:
    """The threads of the node that performs this: what they are called, by the system's number."""
    return {thread.native_id: thread.name for thread in threading.enumerate() if thread.native_id}
