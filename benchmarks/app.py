"""Functions that the benchmarks call, in addition to those of `understudy bench`."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

from understudy import Context, Promise
from understudy.bench.app import noop, runtime

__all__ = ["remembers", "runtime", "threads"]


@runtime.register
def remembers(ctx: Context, count: int) -> Generator[Any, Any, int]:
    """Store `count` steps, then wait for the outside: the start of a replay on another node."""
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
    """Return the names of the threads of this node, by the system's numbers."""
    return {thread.native_id: thread.name for thread in threading.enumerate() if thread.native_id}
