"""What a node knows beyond its tasks: functions, values, dependencies.

Fills the protocols of the floor of actors.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from understudy.client.clock import now_ms
from understudy.context import Context
from understudy.errors import (
    CanceledError,
    ConfigurationError,
    DeadlineExceededError,
    UnderstudyError,
)
from understudy.registry import Function, Registry
from understudy.retry import Exponential, Retry, from_wire
from understudy.values import Codec
from understudy_actors.interpreter.ports import FunctionLike, RetryPolicy
from understudy_store.addresses import poll
from understudy_store.records import CANCELED, TIMEDOUT, PromiseRecord

if TYPE_CHECKING:
    from understudy_actors.interpreter.environment import RunView

_LOG: Final = logging.getLogger("understudy")
#: local functions that are not registered, kept with what is known about them
_LOCAL_MAX: Final = 1024


class NodeValues:
    """The codec, as the node's core wants it."""

    def __init__(self, codec: Codec, default_retry: Retry | None = None) -> None:
        self.codec = codec
        self._default_retry: RetryPolicy = default_retry or Exponential()
        self._policies: dict[str, Retry] = {}

    @property
    def default_retry(self) -> RetryPolicy:
        return self._default_retry

    def encode_call(
        self, function: FunctionLike | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> bytes:
        """Check the arguments where the function is known here, and encode them."""
        if isinstance(function, Function):
            function.check_arguments(args, dict(kwargs))
            return self.codec.encode_call(args, dict(kwargs), function.types.names)
        return self.codec.encode_call(args, dict(kwargs))

    def decode_call(
        self, function: FunctionLike, data: bytes | None
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call, checked against the function's parameters."""
        if data is None:
            return (), {}
        if not isinstance(function, Function):
            return self.codec.decode_call(data)
        args, kwargs = self.codec.decode_call(data, function.types)
        function.check_arguments(args, kwargs)
        return args, kwargs

    def encode_value(self, value: Any, what: str) -> bytes:
        return self.codec.encode_value(value, what)

    def decode_value(self, data: bytes | None, hint: Any = None) -> Any:
        return self.codec.decode_value(data, hint)

    def encode_error(self, error: BaseException) -> bytes:
        return self.codec.encode_error(error)

    def settled_error(self, record: PromiseRecord) -> BaseException:
        """What waiting for a promise that was not resolved raises."""
        if record.state == TIMEDOUT:
            return DeadlineExceededError(record.id)
        if record.state == CANCELED:
            return CanceledError(record.id)
        if record.value.data is None:
            return UnderstudyError(f"promise {record.id!r} was rejected without a reason")
        return self.codec.decode_error(record.value.data)

    def retry_policy(self, wire: str | None) -> RetryPolicy | None:
        if wire is None:
            return None
        policy = self._policies.get(wire)
        if policy is None:
            policy = self._policies[wire] = from_wire(wire)
        return policy


class NodeEnvironment:
    """One process: its registry, codec, dependencies, group."""

    def __init__(
        self,
        registry: Registry,
        codec: Codec,
        *,
        group: str,
        timeout_s: float,
        retry: Retry | None = None,
    ) -> None:
        self.registry = registry
        self.values = NodeValues(codec, retry)
        self.timeout_ms = int(timeout_s * 1000)
        #: the clock from which deadlines of calls from outside are counted, epoch milliseconds
        self.now_ms: Callable[[], int] = now_ms
        self.join(group)
        self._dependencies: dict[str, Any] = {}
        self._local: OrderedDict[int, Function] = OrderedDict()

    def join(self, group: str) -> None:
        """Be of this group."""
        self.group = group
        #: where calls go that name no target: this node's own group
        self.target = poll(group)

    @property
    def functions(self) -> NodeFunctions:
        return NodeFunctions(self.registry)

    def warn(self, text: str) -> None:
        _LOG.warning("%s", text)

    def make_context(self, run: RunView) -> Context:
        return Context(run, self)

    def set_dependency(self, name: str, value: Any) -> None:
        self._dependencies[name] = value

    @property
    def dependencies(self) -> dict[str, Any]:
        return self._dependencies

    def dependency(self, name: str) -> Any:
        try:
            return self._dependencies[name]
        except KeyError:
            known = ", ".join(sorted(self._dependencies)) or "none"
            raise ConfigurationError(
                f"no dependency {name!r} in this process (there are: {known}). Add it before the "
                f"node starts: runtime.set_dependency({name!r}, ...)"
            ) from None

    def registered(self, fn: Callable[..., Any]) -> Function:
        """The registered function that `fn` is; only these can be called in other processes."""
        function = self.registry.of(fn)
        if function is None:
            name = getattr(fn, "__name__", repr(fn))
            raise ConfigurationError(
                f"{name} is not registered in this process: decorate it with @runtime.register, "
                "or call it by its name as a string"
            )
        return function

    def registry_find(self, name: Any, version: int | None = None) -> Function | None:
        """The function of that name if it happens to be registered here too."""
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"{name!r}: call a function by its name, or pass it itself")
        return self.registry.find(name, version)

    def local_function(self, fn: Any) -> Function:
        """What is known of a function that is called here; it need not be registered."""
        if isinstance(fn, str):
            return self.registry.get(fn)
        function = self.registry.of(fn)
        if function is not None:
            return function
        known = self._local.get(id(fn))
        if known is None or known.fn is not fn:
            known = self._local[id(fn)] = Function(fn)
            if len(self._local) > _LOCAL_MAX:
                self._local.popitem(last=False)
        return known


class NodeFunctions:
    """The registry, as the node's core wants it."""

    __slots__ = ("_registry",)

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def get(self, name: str, version: int | None = None) -> Function:
        return self._registry.get(name, version)

    def names(self) -> list[str]:
        return [function.name for function in self._registry.functions()]


__all__ = ["NodeEnvironment", "NodeValues"]
