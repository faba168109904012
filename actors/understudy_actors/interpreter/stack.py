"""The stack of a routine: the function's own generator, and subroutines on top of it.

A stack ends in one of three ways. Its function returns or raises. Or its call is over otherwise (it
was canceled, say): then the generators are closed where they wait, and their ``finally`` blocks
run. Or the call is merely *set aside*, because it goes on elsewhere or later: then nothing of the
function may run, since to the world it has not ended.

Python closes a generator that nobody refers to, and that would run its blocks. So what is set aside
is kept: the last `KEPT_MAX` stacks, and all of them when the process ends.

What is not perfect: beyond the bound, the stack that was set aside first is closed after all. Its
blocks run then; the calls that they make go nowhere, and ``ctx.log`` is silent.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Generator
from typing import Any, Final, TypeAlias

Stack: TypeAlias = list[Generator[Any, Any, Any]]

#: stacks that are kept after they were set aside; as many as a node keeps activations warm
KEPT_MAX: Final = 4096

#: the stacks that were set aside, the oldest first
_kept: deque[Stack] = deque()
# One reference more than there are, so that the end of the interpreter, which frees what modules
# hold, does not close the generators.
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_kept))


def close(stack: Stack) -> None:
    """Close the generators of a stack, the topmost first; their clean-up code runs."""
    while stack:
        try:
            stack.pop().close()
        except BaseException:
            continue


def set_aside(stack: Stack) -> None:
    """Let go of a stack, and keep its generators as they are, so that none of their code runs."""
    if stack:
        _kept.append(stack.copy())
        stack.clear()


def close_excess() -> None:
    """Close those that were set aside first, if there are too many; users' code may run."""
    while len(_kept) > KEPT_MAX:
        try:
            oldest = _kept.popleft()
        except IndexError:
            return
        close(oldest)
