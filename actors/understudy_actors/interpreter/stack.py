"""The stack of a routine: the function's own generator, and subroutines on top of it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeAlias

Stack: TypeAlias = list[Generator[Any, Any, Any]]


def close(stack: Stack) -> None:
    """Close the generators of a stack, the topmost first; their clean-up code runs."""
    while stack:
        try:
            stack.pop().close()
        except BaseException:
            continue
