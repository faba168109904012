"""A call from outside a durable function, and the promise that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from msgspec.structs import replace

from understudy.client.node_environment import NodeEnvironment
from understudy.errors import ConfigurationError
from understudy.options import Options
from understudy.registry import Function
from understudy.retry import to_wire
from understudy_actors.interpreter.child_commands import TIME_MS_MAX, create_command
from understudy_actors.interpreter.requests import CallSpec
from understudy_broker.protocol.messages import AnyCommand, PromiseCreateWatched
from understudy_store.commands import PromiseCreate, ScheduleTrigger, TaskCreate
from understudy_store.records import TAG_DELAY

_Create = TypeVar("_Create", PromiseCreate, TaskCreate)


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
    spec.target = target or options.target or (function and function.target) or env.target
    spec.priority = options.priority
    spec.retention = options.retention
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
    if callable(id):
        name = getattr(id, "__name__", repr(id))
        raise ConfigurationError(
            f"{name} stands where the id of the call belongs: give the id first, a string of your "
            f"choice, then the function: runtime.rpc('{name}-1', {name}, ...)"
        )
    if not isinstance(id, str) or not id:
        raise ConfigurationError(f"id={id!r}: a call from outside needs an id, a string")
    return id


def promise_of(env: NodeEnvironment, call: ClientCall, id: str) -> PromiseCreate:
    """Return the command that begins the call now, under the id `id`."""
    spec = call.spec
    spec.id = check_id(id)
    return create_command(env.outside, spec, env.now_ms())


def trigger_command(schedule_id: str, date: int) -> ScheduleTrigger:
    """Return the command that makes a call of a schedule, with a date that no occurrence has."""
    return ScheduleTrigger(schedule_id, date + (date % 1000 == 0))


def dated(command: AnyCommand, unheard_ms: int) -> AnyCommand:
    """Return a command whose deadline is by the broker's clock; see `PeerClock.for_deadlines`."""
    if isinstance(command, PromiseCreateWatched):
        return replace(command, create=_dated(command.create, unheard_ms))
    if isinstance(command, PromiseCreate):
        return _dated(command, unheard_ms)
    if isinstance(command, ScheduleTrigger) and command.date < 0:
        return trigger_command(command.id, command.date + unheard_ms)
    return _dated(command, unheard_ms) if isinstance(command, TaskCreate) else command


def _dated(command: _Create, unheard_ms: int) -> _Create:
    if command.timeout_at >= 0:
        return command
    tags = command.tags
    if TAG_DELAY in tags:
        tags = {**tags, TAG_DELAY: str(int(tags[TAG_DELAY]) + unheard_ms)}
    timeout_at = min(command.timeout_at + unheard_ms, TIME_MS_MAX)
    return replace(command, timeout_at=timeout_at, tags=tags)
