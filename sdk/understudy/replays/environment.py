"""The environment of a replay: that of the process, with stand-ins for what only a node has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from understudy.client.node_environment import NodeEnvironment, NodeFunctions, NodeValues
from understudy.context import Context
from understudy.errors import ConfigurationError
from understudy.registry import Function
from understudy_actors.interpreter.tracing import NO_TRACING, Tracing

if TYPE_CHECKING:
    from understudy_actors.interpreter.environment import RunView


class AbsentDependency:
    """A stand-in for a dependency that is set when a node starts; only a step may need it.

    It can be passed on. Anything else that is done with it is an error that names it.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<the dependency {self._name!r}, which a replay does not have>"

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise ConfigurationError(
            f"the dependency {self._name!r} is set when a node starts, which a replay does not do: "
            f"use its {attribute!r} inside a step (ctx.run), not between steps"
        )


class ReplayEnvironment:
    """The functions and values of a process, for replays (an `Environment`, and a `NodeView`).

    Parameters
    ----------
    env
        The environment of the process.
    watch
        Takes each run whose function begins, and returns what its context is to see of it.
    """

    def __init__(
        self, env: NodeEnvironment, watch: Callable[[RunView], RunView] | None = None
    ) -> None:
        self._env = env
        self._watch = watch

    @property
    def values(self) -> NodeValues:
        """The values of the process: they have its keys, and its trust in pickles."""
        return self._env.values

    @property
    def functions(self) -> NodeFunctions:
        """The registered functions."""
        return self._env.functions

    @property
    def group(self) -> str:
        """The group of the process."""
        return self._env.group

    @property
    def timeout_ms(self) -> int:
        """Milliseconds that a call may take if nothing else is said."""
        return self._env.timeout_ms

    @property
    def target(self) -> str:
        """The address of calls that name no target."""
        return self._env.target

    @property
    def targets(self) -> Mapping[str, str]:
        """The addresses of functions that were registered with one."""
        return self._env.targets

    @property
    def node(self) -> str:
        """The name of the process."""
        return self._env.node

    @property
    def tracing(self) -> Tracing:
        """Trace nothing: the node that made the calls has traced them."""
        return NO_TRACING

    @property
    def now_ms(self) -> Callable[[], int]:
        """The clock for the time that a call has left, epoch milliseconds."""
        return self._env.now_ms

    @property
    def on_progress(self) -> Callable[[RunView], None]:
        """Drop what a function says of how far it is."""
        return _ignore

    def warn(self, text: str) -> None:
        """Drop a warning: the node that made the calls has given it."""

    def make_context(self, run: RunView) -> Context:
        """Return the ``ctx`` for a run."""
        return Context(run if self._watch is None else self._watch(run), self)

    def dependency(self, name: str) -> Any:
        """Return a dependency, or a stand-in for one that is set when a node starts."""
        return self._env.dependencies.get(name, AbsentDependency(name))

    def registered(self, fn: Callable[..., Any]) -> Function:
        """Return the registration of `fn`."""
        return self._env.registered(fn)

    def local_function(self, fn: Any) -> Function:
        """Return the description of a function to call in this process."""
        return self._env.local_function(fn)


def _ignore(_run: RunView) -> None:
    """Do nothing."""
