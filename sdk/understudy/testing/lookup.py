"""The runtime that a function belongs to, for tests that are given only the function."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy.client.node_environment import NodeEnvironment
from understudy.registry import Function, Registry
from understudy.runtime import DEFAULT_TIMEOUT_S, Runtime
from understudy.values import Codec


class OwnEnvironment(NodeEnvironment):
    """Of a runtime that was made for a function that belongs to none: whatever it calls by passing
    it counts as registered."""

    def registered(self, fn: Callable[..., Any]) -> Function:
        return self.registry.of(fn) or self.registry.register(fn)


def runtimes_for(fn: Callable[..., Any], given: tuple[Runtime, ...]) -> tuple[Runtime, ...]:
    """`given`; or the runtime in the function's own module that it is registered with; or one made
    for it. The first knows the function."""
    for runtime in given or _in_module(fn):
        if runtime.session.env.registry.of(fn) is not None:
            return (runtime, *(other for other in given if other is not runtime))
    if given:
        given[0].session.env.registry.register(fn)
        return given
    runtime = Runtime.local(id="local-1")
    env = OwnEnvironment(
        Registry(), Codec(pickle=True), group=runtime.group, timeout_s=DEFAULT_TIMEOUT_S
    )
    env.registry.register(fn)
    runtime.session.env = env
    return (runtime,)


def _in_module(fn: Callable[..., Any]) -> list[Runtime]:
    names = getattr(fn, "__globals__", {})
    return [value for value in names.values() if isinstance(value, Runtime)]


def place_of(fn: Any) -> str:
    """Where a function begins: ``shop/orders.py:12``, as short as it can be said from here."""
    code = getattr(fn, "__code__", None) or getattr(type(fn).__call__, "__code__", None)
    if code is None:
        return "?"
    path = Path(code.co_filename)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{os.fspath(path)}:{code.co_firstlineno}"
