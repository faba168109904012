"""The node, as a routine sees it. The SDK fills this protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from understudy_actors.interpreter.ports import Functions, Values

if TYPE_CHECKING:
    from understudy_actors.interpreter.routine import Routine


class Environment(Protocol):
    """All that a routine knows of the node that it runs on."""

    @property
    def values(self) -> Values: ...
    @property
    def functions(self) -> Functions: ...
    @property
    def group(self) -> str: ...
    #: milliseconds that a call may take where nothing says otherwise
    @property
    def timeout_ms(self) -> int: ...
    def warn(self, text: str) -> None:
        """Tell the author of a function what looks like a mistake."""

    def make_context(self, routine: Routine) -> Any:
        """The ``ctx`` that is passed to the function."""
