"""A call from outside a durable function: how it becomes a promise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from understudy.client.node_environment import NodeEnvironment
from understudy.errors import ConfigurationError
from understudy.options import Options
from understudy.registry import Function
from understudy.retry import to_wire
from understudy_store.commands import PromiseCreate
from understudy_store.records import (
    HEADER_FUNCTION,
    HEADER_KIND,
    HEADER_RETRY,
    HEADER_VERSION,
    TAG_DELAY,
    TAG_PRIORITY,
    TAG_TARGET,
    Value,
)


class ClientCall(NamedTuple):
    """A function and what its promise needs to be made."""

    function: Function | None
    param: Value
    tags: dict[str, str]
    timeout_ms: int


def client_call(
    env: NodeEnvironment,
    options: Options,
    kind: str,
    f: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    target: str | None = None,
) -> ClientCall:
    """Read what a call from outside says: `f` a function or its name, `target` over the options'.

    Raises
    ------
    ConfigurationError, EncodingError, TypeError
        `f` is not registered here and no name; an argument that cannot travel, or does not suit
        the parameters of a function that is known here.
    """
    function = env.registered(f) if callable(f) else env.registry_find(f, options.version)
    headers = {HEADER_KIND: kind, HEADER_FUNCTION: f if function is None else function.name}
    version = options.version
    if version is None and function is not None and callable(f):
        version = function.version  # the very function that was passed, not the latest of its name
    if version is not None:
        headers[HEADER_VERSION] = str(version)
    if options.retry is not None:
        headers[HEADER_RETRY] = to_wire(options.retry)
    tags = dict(options.tags or {})
    tags[TAG_TARGET] = target or options.target or env.target
    if options.priority:
        tags[TAG_PRIORITY] = str(options.priority)
    timeout_s = options.timeout_s
    if timeout_s is None and function is not None:
        timeout_s = function.timeout_s
    timeout_ms = env.timeout_ms if timeout_s is None else int(timeout_s * 1000)
    data = env.values.encode_call(function, args, kwargs)
    return ClientCall(function, Value(headers, data), tags, timeout_ms)


def check_id(id: object) -> str:
    """Return the id of a promise or schedule if it is one; the store checks its characters."""
    if not isinstance(id, str) or not id:
        raise ConfigurationError(f"id={id!r}: a call from outside needs an id, a string")
    return id


def promise_of(call: ClientCall, id: str, options: Options, now_ms: int) -> PromiseCreate:
    """The promise that the call begins with, at the time `now_ms`."""
    check_id(id)
    if options.delay_s:
        call.tags[TAG_DELAY] = str(now_ms + int(options.delay_s * 1000))
    return PromiseCreate(id, now_ms + call.timeout_ms, call.param, call.tags)
