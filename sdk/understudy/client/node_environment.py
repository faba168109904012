"""The functions, values, dependencies and group of a process.

These classes fill the protocols by which the node (`understudy_actors`) sees the SDK.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from understudy.context import Context
from understudy.current_run import CURRENT, CurrentRun
from understudy.errors import (
    CanceledError,
    ConfigurationError,
    DeadlineExceededError,
    UnderstudyError,
)
from understudy.log_lines import say
from understudy.registry import Function, Registry, called_already, key_of
from understudy.retry import Exponential, Retry, from_wire
from understudy.tracing import current as current_tracing
from understudy.values import Codec
from understudy_actors.errors import check_not_dropped
from understudy_actors.interpreter.child_commands import outside
from understudy_actors.interpreter.ports import FunctionLike, RetryPolicy
from understudy_actors.interpreter.tracing import NO_TRACING, Tracing
from understudy_broker.clock import before_any_broker
from understudy_store.addresses import poll
from understudy_store.records import CANCELED, TIMEDOUT, PromiseRecord

if TYPE_CHECKING:
    from understudy.tracing.tracer import OtelTracing
    from understudy_actors.interpreter.environment import RunView

#: Local functions without a registration whose description is kept.
_LOCAL_MAX: Final = 1024


class NodeValues:
    """Encoding and decoding of values, errors and retry policies. Fills `ports.Values`."""

    def __init__(self, codec: Codec, default_retry: Retry | None = None) -> None:
        self.codec = codec
        self._default_retry: RetryPolicy = default_retry or Exponential()
        self._policies: dict[str, Retry] = {}

    @property
    def default_retry(self) -> RetryPolicy:
        """The policy of functions that bring none."""
        return self._default_retry

    def encode_call(
        self, function: FunctionLike | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> bytes:
        """Encode the arguments of a call, after checking them if the function is known here."""
        if isinstance(function, Function):
            function.check_arguments(args, dict(kwargs))
            types = function.types
            return self.codec.encode_call(args, dict(kwargs), types.names, types)
        return self.codec.encode_call(args, dict(kwargs))

    def decode_call(
        self, function: FunctionLike | None, data: bytes | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Decode the arguments of a call; as the types of `function` if it is known here."""
        if data is None:
            return (), {}
        if not isinstance(function, Function):
            return self.codec.decode_call(data)
        args, kwargs = self.codec.decode_call(data, function.types)
        function.check_arguments(args, kwargs)
        return args, kwargs

    def encode_value(self, value: Any, what: str, function: FunctionLike | None = None) -> bytes:
        """Encode a value; `what` names it in the error if it cannot travel.

        A result is checked against the annotation of its `function`.
        """
        return self.codec.encode_value(value, what, function)

    def decode_value(self, data: bytes | None, hint: Any = None) -> Any:
        """Decode a value, as the type `hint` if there is one."""
        return self.codec.decode_value(data, hint)

    def encode_error(self, error: BaseException) -> bytes:
        """Encode the failure of a function."""
        return self.codec.encode_error(error)

    def settled_error(self, record: PromiseRecord) -> BaseException:
        """Return the exception that a wait for this promise raises; it was not resolved."""
        if record.state == TIMEDOUT:
            return DeadlineExceededError(record.id)
        if record.state == CANCELED:
            return CanceledError(record.id)
        check_not_dropped(record)
        if record.value.data is None:
            return UnderstudyError(f"promise {record.id!r} was rejected without a reason")
        return self.codec.decode_error(record.value.data)

    def retry_policy(self, wire: str | None) -> RetryPolicy | None:
        """Return the policy in a call's header; None if the header is absent."""
        if wire is None:
            return None
        policy = self._policies.get(wire)
        if policy is None:
            policy = self._policies[wire] = from_wire(wire)
        return policy


class NodeEnvironment:
    """The functions, values, dependencies and group of one process.

    Fills `interpreter.environment.Environment` for the node, and `node_view.NodeView` for contexts.

    Parameters
    ----------
    registry
        The functions that other processes may call here.
    codec
        Encodes and decodes values.
    group
        The group of the process.
    timeout_s
        Seconds that a call may take if neither the call nor its function says.
    retry
        The policy of functions that bring none.

    Attributes
    ----------
    now_ms
        The clock for deadlines of calls from outside, in epoch milliseconds. Before the broker's
        time is known it shows a time that is none: see `PeerClock.for_deadlines`.
    on_progress
        Called, on any thread, when a function has said how far it is.
    target
        The address of calls that name no target: the process's own group, or its task source.
    targets
        The addresses of functions that were registered with one, by the name of the function.
    node
        The name of this process among its peers; empty before it has connected.
    """

    def __init__(
        self,
        registry: Registry,
        codec: Codec,
        *,
        group: str,
        timeout_s: float,
        retry: Retry | None = None,
    ) -> None:
        self._own_target: str | None = None
        self.node = ""
        self.registry = registry
        self.targets = registry.targets
        self.functions = NodeFunctions(registry)
        self.values = NodeValues(codec, retry)
        self.timeout_ms = int(timeout_s * 1000)
        #: the frame of calls from outside of durable functions
        self.outside = outside(self.timeout_ms)
        self.now_ms: Callable[[], int] = before_any_broker
        #: takes what a function says of how far it is
        self.on_progress: Callable[[RunView], None] = _ignore
        self.join(group)
        self._dependencies: dict[str, Any] = {}
        self._local: OrderedDict[object, Function] = OrderedDict()

    def join(self, group: str) -> None:
        """Make `group` the group of this process."""
        self.group = group
        self.target = self.registry.target = self._own_target or poll(group)

    def aim_at(self, target: str | None) -> None:
        """Have calls without a target go to an address; with None, to the group."""
        self._own_target = target
        self.join(self.group)

    @property
    def tracing(self) -> Tracing:
        """The maker of the traces of tasks."""
        return self.tracer or NO_TRACING

    @property
    def tracer(self) -> OtelTracing | None:
        """The maker of the spans of this process; None: it has no tracer provider."""
        tracer = current_tracing()
        if tracer is not None:
            tracer.spans.node = self.node
        return tracer

    def warn(self, text: str) -> None:
        """Log a warning for the author of a function."""
        say(logging.WARNING, "%s", text)

    def make_context(self, run: RunView) -> Context:
        """Return the ``ctx`` for a run, whose code is the current one from here on."""
        CURRENT.set(CurrentRun(run.calls.frame, run.function, run.attempt, self))
        return Context(run, self)

    def set_dependency(self, name: str, value: Any) -> None:
        """Make `value` available to functions under `name`."""
        self._dependencies[name] = value

    @property
    def dependencies(self) -> dict[str, Any]:
        """All dependencies by name."""
        return self._dependencies

    def dependency(self, name: str) -> Any:
        """Return a dependency; raise an error that names those that exist."""
        try:
            return self._dependencies[name]
        except KeyError:
            known = ", ".join(sorted(self._dependencies)) or "none"
            raise ConfigurationError(
                f"no dependency {name!r} in this process (there are: {known}). Add it before the "
                f"node starts: runtime.set_dependency({name!r}, ...)"
            ) from None

    def registered(self, fn: Callable[..., Any]) -> Function:
        """Return the registration of `fn`, which other processes need in order to be called."""
        function = self.registry.of(fn) or self.registry.elsewhere(fn)
        if function is None:
            raise ConfigurationError(_not_callable(fn))
        return function

    def registry_find(self, name: Any, version: int | None = None) -> Function | None:
        """Return the function of that name; None if it is registered elsewhere only."""
        if not isinstance(name, str) or not name:
            raise ConfigurationError(_not_callable(name))
        return self.registry.find(name, version)

    def local_function(self, fn: Any) -> Function:
        """Return the description of a function to call in this process, registered or not."""
        if isinstance(fn, str):
            return self.registry.get(fn)
        function = self.registry.of(fn)
        if function is not None:
            return function
        key = key_of(fn)
        known = self._local.get(key)
        if known is None:
            known = self._local[key] = self.registry.elsewhere(fn) or Function(
                fn, loop=self.registry.loop
            )
            if len(self._local) > _LOCAL_MAX:
                self._local.popitem(last=False)
        return known


def _ignore(run: RunView) -> None:
    """Do nothing: there is no node that tells the brokers."""


def _not_callable(f: Any) -> str:
    """Say what is wrong with an object that stands where the function of a call belongs."""
    called = called_already(f)
    if called is not None:
        return (
            f"{called} was called directly, so it is not called durably: pass {called} itself, and "
            "its arguments after it, without the context"
        )
    if callable(f):
        name = getattr(f, "__name__", repr(f))
        return (
            f"{name} is not registered in this process: decorate it with @runtime.register, or "
            "call it by its name as a string"
        )
    return (
        f"{f!r} stands where the function belongs: pass the function itself or its name, then its "
        "arguments. From outside, the id of the call comes first: "
        "runtime.rpc('sum-1', add, 1, 2)"
    )


class NodeFunctions:
    """The registered functions. Fills `ports.Functions`."""

    __slots__ = ("_registry", "get")

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        #: returns a function, or raises an error that names those that are known
        self.get = registry.get

    def names(self) -> list[str]:
        """Return the names of all functions, one for each version."""
        return [function.name for function in self._registry.functions()]

    def announced(self) -> dict[tuple[str, int], Function]:
        """Return all functions by name and version, as a broker is told of them."""
        return {(each.name, each.version): each for each in self._registry.functions()}


__all__ = ["NodeEnvironment", "NodeValues"]
