"""A call from outside a durable function, and the promise that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from understudy.client.node_environment import NodeEnvironment
from understudy.errors import ConfigurationError
from understudy.options import Options
from understudy.registry import Function
from understudy.retry import to_wire
from understudy_actors.interpreter.child_commands import create_command
from understudy_actors.interpreter.requests import CallSpec
from understudy_store.commands import PromiseCreate


class ClientCall(NamedTuple):
    """A call from outside: the function, if it is registered here, and what is asked of it."""

    function: Function | None
    spec: CallSpec


def client_call(
    env: NodeEnvironment,
    options: Options,
    kind: str,
    f: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    target: str | None = None,
) -> ClientCall:
    """Read a call from outside. It has no id yet.

    Parameters
    ----------
    f
        The function, or its name.
    target
        Takes precedence over the options' target.

    Raises
    ------
    ConfigurationError, EncodingError, TypeError
        `f` is not registered here and no name; an argument that cannot travel, or does not suit
        the parameters of a function that is known here.
    """
    function = env.registered(f) if callable(f) else env.registry_find(f, options.version)
    spec = CallSpec(kind, "", f if function is None else function.name, "")
    spec.version = options.version
    if function is not None and callable(f):
        # This is the function that was passed, not the latest of its name.
        spec.passed_version = function.version
    if options.retry is not None:
        spec.retry = to_wire(options.retry)
    spec.tags = options.tags
    spec.target = target or options.target or env.target
    spec.priority = options.priority
    timeout_s = options.timeout_s
    if timeout_s is None and function is not None:
        timeout_s = function.timeout_s
    if timeout_s is not None:
        spec.timeout_ms = int(timeout_s * 1000)
    if options.delay_s is not None:
        spec.delay_ms = int(options.delay_s * 1000)
    spec.data = env.values.encode_call(function, args, kwargs)
    return ClientCall(function, spec)


def check_id(id: object) -> str:
    """Return the id of a promise or schedule if it is one; the store checks its characters."""
    if not isinstance(id, str) or not id:
        raise ConfigurationError(f"id={id!r}: a call from outside needs an id, a string")
    return id


def promise_of(env: NodeEnvironment, call: ClientCall, id: str) -> PromiseCreate:
    """Return the command that begins the call now, under the id `id`."""
    spec = call.spec
    spec.id = check_id(id)
    return create_command(env.outside, spec, env.now_ms())
