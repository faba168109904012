"""The node of a function, as its context sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from understudy.registry import Function
    from understudy_actors.interpreter.environment import RunView
    from understudy_actors.interpreter.ports import Values


class NodeView(Protocol):
    """The node of a function, as its context sees it. `NodeEnvironment` fills it."""

    @property
    def group(self) -> str: ...
    @property
    def node(self) -> str: ...
    @property
    def values(self) -> Values: ...
    #: the address of calls that name no target
    @property
    def target(self) -> str: ...
    #: addresses of functions that were registered with one, by name
    @property
    def targets(self) -> Mapping[str, str]: ...
    #: the brokers' clock, epoch milliseconds
    @property
    def now_ms(self) -> Callable[[], int]: ...
    #: takes a run that has said how far it is, on any thread
    @property
    def on_progress(self) -> Callable[[RunView], None]: ...
    def warn(self, text: str) -> None: ...
    def dependency(self, name: str) -> Any: ...
    def registered(self, fn: Callable[..., Any]) -> Function: ...
    def local_function(self, fn: Any) -> Function: ...
