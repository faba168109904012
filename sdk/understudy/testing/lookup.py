"""The lookup of runtimes and source lines for a test that is given only a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from understudy.client.node_environment import NodeEnvironment
from understudy.registry import Function, Registry
from understudy.runtime import DEFAULT_TIMEOUT_S, Runtime
from understudy.values import Codec


class OpenEnvironment(NodeEnvironment):
    """The environment of a runtime that is made for one function, which registers on demand.

    A function under test may call others by passing them. Those belong to no runtime either, so
    they are registered when they are called.
    """

    def registered(self, fn: Callable[..., Any]) -> Function:
        return self.registry.of(fn) or self.registry.register(fn)


def runtimes_for(fn: Callable[..., Any], given: tuple[Runtime, ...]) -> tuple[Runtime, ...]:
    """Return the runtimes to run `fn` on; it is registered with the first.

    These are the ones that were `given`, else the runtime in the function's own module with which
    it is registered, else one that is made for it.
    """
    for runtime in given or _in_module(fn):
        if runtime.session.env.registry.of(fn) is not None:
            return (runtime, *(other for other in given if other is not runtime))
    if given:
        given[0].session.env.registry.register(fn)
        return given
    runtime = Runtime.local(id="local-1")
    env = OpenEnvironment(
        Registry(), Codec(pickle=True), group=runtime.group, timeout_s=DEFAULT_TIMEOUT_S
    )
    env.registry.register(fn)
    runtime.session.env = env
    return (runtime,)


def _in_module(fn: Callable[..., Any]) -> list[Runtime]:
    names = getattr(fn, "__globals__", {})
    return [value for value in names.values() if isinstance(value, Runtime)]
