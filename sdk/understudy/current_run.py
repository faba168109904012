"""The run whose code is executed: facts about it, for logs."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

if TYPE_CHECKING:
    from understudy_actors.interpreter.child_commands import CallFrame
    from understudy_actors.interpreter.ports import FunctionLike


class OwnNode(Protocol):
    """The node of a run."""

    @property
    def group(self) -> str: ...
    @property
    def node(self) -> str: ...


class CurrentRun(msgspec.Struct, frozen=True):
    """A run. Refers to nothing that refers to its context variables, so that both are freed."""

    frame: CallFrame
    function: FunctionLike
    attempt: int
    owner: OwnNode

    def facts(self) -> dict[str, object]:
        """Return what a log says of the run, as attributes of a record."""
        return {
            "understudy_id": self.frame.id,
            "understudy_origin": self.frame.origin,
            "understudy_function": self.function.name,
            "understudy_group": self.owner.group,
            "understudy_attempt": self.attempt,
            "understudy_node": self.owner.node,
        }


#: the run whose code is executed; None outside of durable functions
CURRENT: Final[ContextVar[CurrentRun | None]] = ContextVar("understudy_current_run", default=None)
