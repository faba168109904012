"""The two views between interpreter and SDK: a run for its context, a node for its routines."""

from __future__ import annotations

from typing import Any, Protocol

from understudy_actors.interpreter.child_calls import ChildCalls
from understudy_actors.interpreter.ports import FunctionLike, Functions, Values
from understudy_actors.interpreter.replay import ReplayState
from understudy_actors.interpreter.signals import Signals
from understudy_actors.interpreter.tracing import Tracing
from understudy_store.records import PromiseRecord


class RunView(Protocol):
    """The run of a function, as its context sees it. `Routine` fills it."""

    @property
    def id(self) -> str: ...
    #: the promise that the run settles
    @property
    def record(self) -> PromiseRecord: ...
    @property
    def function(self) -> FunctionLike: ...
    #: from 1; one more with every failure that was retried
    @property
    def attempt(self) -> int: ...
    @property
    def replay(self) -> ReplayState: ...
    @property
    def calls(self) -> ChildCalls: ...
    #: the function was let go of
    @property
    def dropped(self) -> bool: ...
    #: the call has settled; otherwise a function that was let go of goes on elsewhere, or later
    @property
    def is_over(self) -> bool: ...

    #: nobody wants the result any more
    canceled: bool
    #: None: the function has not needed them so far
    signals: Signals | None


class Environment(Protocol):
    """The node, as a routine sees it. The SDK fills it."""

    @property
    def values(self) -> Values: ...
    @property
    def functions(self) -> Functions: ...
    @property
    def tracing(self) -> Tracing: ...
    @property
    def group(self) -> str: ...
    #: milliseconds that a call may take if neither the call nor its function says
    @property
    def timeout_ms(self) -> int: ...
    def warn(self, text: str) -> None:
        """Tell the author of a function about a likely mistake."""

    def make_context(self, run: RunView) -> Any:
        """Return the ``ctx`` that is passed to the function of a run."""
