"""The end of a process that was forked inside a function.

A function may fork (`os.fork`). The child is a copy of this process that has one thread, which is
still inside the function. If the function lets go of it (`sys.exit`, ``return``, an exception), it
comes back to the executor, which would go on as a node without a loop, on the sockets of the
parent. So it ends there, with the exit code that Python would give at the top of a program. It
reports nothing and runs no exit handlers, as those are the node's.

Processes of `multiprocessing` end by themselves and never come back.

What is not perfect: a task that an ``async def`` function has started is stepped by its loop, which
ends the child after the task's step. Of a failure trio does not tell which it was. asyncio may run
other tasks before, namely those that were ready at the time of the fork.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from typing import NoReturn, Protocol
from weakref import WeakSet

from understudy_actors.errors import RequestError
from understudy_actors.interpreter.routine import Routine
from understudy_actors.interpreter.step_result import NO_TRAP, StepResult


class OfOneProcess(Protocol):
    """Something that works in the process that made it only."""

    def forked(self) -> None:
        """Note, in a process that was just forked, that this is a copy."""


_made: WeakSet[OfOneProcess] = WeakSet()


def tell_copies_of(made: OfOneProcess) -> None:
    """Call `made.forked` in each process that is forked from this one."""
    _made.add(made)


def _after_fork_in_child() -> None:
    for made in list(_made):
        made.forked()


os.register_at_fork(after_in_child=_after_fork_in_child)


def end_of_step(routine: Routine, result: StepResult) -> NoReturn:
    """End this process, which was forked inside the step of `routine` that gave `result`."""
    ended = result.done or routine.ended
    if result.trap is not NO_TRAP or (routine.wait is not None and ended is None):
        end_process(went_on())
    if ended is not None:
        end_process(ended.error)
    if result.mismatch is not None:
        # The child has left out the calls of its parent, which is what it ought to do.
        end_process(result.mismatch.__cause__)
    end_process(result.retry_error)


def went_on() -> RequestError:
    """Return the error of a child that does what only the parent may do."""
    return RequestError(
        f"process {os.getpid()}, forked inside a durable function, cannot use ctx or await: only "
        "the process that forked is the node. Let the child end with sys.exit or os._exit"
    )


def end_process(error: BaseException | None) -> NoReturn:
    """End this process as Python does at the top of a program, but without exit handlers."""
    code = 1
    try:
        with suppress(Exception):
            code = _exit_code(error)
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
    finally:
        os._exit(code)


def _exit_code(error: BaseException | None) -> int:
    if error is None:
        return 0
    if not isinstance(error, SystemExit):
        traceback.print_exception(error)
    elif error.code is None:
        return 0
    elif isinstance(error.code, int):
        return error.code & 0xFF
    else:
        print(error.code, file=sys.stderr)
    return 1
