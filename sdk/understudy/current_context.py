"""The context of the durable function that the caller runs in, for code that is not passed it."""

from __future__ import annotations

import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from understudy.context import Context

#: Weak, because the variables of a run belong to the run, and the context refers to it: only the
#: garbage collector would ever free such a circle.
_CURRENT: Final[ContextVar[weakref.ref[Context] | None]] = ContextVar("_CURRENT", default=None)


def enter(ctx: Context) -> None:
    """Make `ctx` the current context of what runs with the current context variables."""
    _CURRENT.set(weakref.ref(ctx))


def current() -> Context | None:
    """Return the context of the durable function that the caller runs in.

    It is the one that the function was passed as its first argument. Code below the function gets
    it too, on its thread, in the tasks that it has started, and on threads that it has started with
    ``asyncio.to_thread`` or ``trio.to_thread.run_sync``.

    Returns
    -------
    Context or None
        None, if no durable function runs here, or if it has ended.

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
    reference = _CURRENT.get()
    return None if reference is None else reference()
