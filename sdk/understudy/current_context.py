"""The context of the durable function that the caller runs in, for code that is not passed it.

How it works: nothing is noted when a function begins, because most never ask. On its own thread, a
function runs inside a step of its routine, so that is found on the stack. A task or a thread that a
coroutine has started is no part of that step, but has the context variable by which it lends the
slot of its run.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import TYPE_CHECKING, Final

from understudy_actors.interpreter.routine import Routine
from understudy_actors.lent_slots import routine_here

if TYPE_CHECKING:
    from understudy.context import Context

#: the methods of a routine that run the function
_STEPS: Final = frozenset({Routine.step.__code__, Routine.answer_trap.__code__})


def current() -> Context | None:
    """Return the context of the durable function that the caller runs in.

    It knows and does the same as the one that the function was passed as its first argument. Code
    below the function gets it too, on its thread, in the tasks that it has started, and on threads
    that it has started with ``asyncio.to_thread`` or ``trio.to_thread.run_sync``.

    Returns
    -------
    Context or None
        None, if no durable function runs here.

    Examples
    --------
    >>> import understudy
    >>> def copy_rows(rows):
    ...     ctx = understudy.current()  # None, if it is called by an ordinary program
    ...     for number, row in enumerate(rows, 1):
    ...         if ctx is not None:
    ...             ctx.progress(number / len(rows), f"row {row}")
    ...     return len(rows)
    >>> @runtime.register
    ... def import_rows(ctx, rows):
    ...     return copy_rows(rows)
    >>> runtime.rpc("import-rows-1", import_rows, ["a", "b"]).result()
    2
    >>> copy_rows(["a", "b", "c"])
    3
    """
    routine = _routine_above(sys._getframe(1)) or routine_here()
    ctx: Context | None = None if routine is None else routine.env.make_context(routine)
    return ctx


def _routine_above(frame: FrameType | None) -> Routine | None:
    """Return the routine whose step has led to a frame; None if there is none."""
    while frame is not None:
        if frame.f_code in _STEPS:
            found: Routine = frame.f_locals["self"]
            return found
        frame = frame.f_back
    return None
