"""Durable functions for the tests of embedded runtimes: one adds, one calls itself, one waits."""

from __future__ import annotations

from typing import Any

from understudy import Context, Runtime


def add(ctx: Context, a: int, b: int) -> int:
    return a + b


def tree(ctx: Context, depth: int) -> Any:
    if depth == 0:
        return 1
    left = yield ctx.rfi(tree, depth - 1)
    right = yield ctx.rfi(tree, depth - 1)
    return (yield left) + (yield right)


def approve(ctx: Context) -> Any:
    promise = yield ctx.promise(id=f"{ctx.id}/approval")
    return (yield promise)


def register_all(runtime: Runtime) -> Runtime:
    for fn in (add, tree, approve):
        runtime.register(fn)
    return runtime


def exists(runtime: Runtime, id: str = "x/approval") -> bool:
    return any(p.id == id for p in runtime.promises.search(prefix=id))
