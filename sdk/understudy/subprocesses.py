"""Subprocesses of durable functions: they end when the function is canceled.

A plain function that waits for a program cannot be stopped, and the program would run to its end
although nobody wants the result, perhaps beside the same program on another node. `run` is
`subprocess.run` with one more reason to end: the call was canceled or has passed its deadline, or
the task has gone to another node.

How it works: the program is the leader of a process group of its own. When the node learns that the
function is canceled, a thread (`Context.on_cancel`) sends SIGTERM to the group, and SIGKILL after a
grace. The function's own thread waits for the program meanwhile, and so notices its end. If the
process of the node ends in order, what still runs is ended as well, with little grace.

What is not perfect: if the process of the node is killed, nobody is left to end the program. And a
program that leaves its process group, as daemons do, is out of reach.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from understudy.current_context import current
from understudy.errors import CanceledError, ConfigurationError, DeadlineExceededError
from understudy.handle import in_async_code
from understudy.options import seconds

if TYPE_CHECKING:
    from understudy.context import Context

#: time between two looks at whether a group that was told to end has ended
_LOOK_S: Final = 0.02
#: a wait that is longer counts as one without end
_WAIT_MAX_S: Final = 7 * 86_400.0
#: How long after its deadline a program is ended if no broker has said that the call is over. The
#: broker comes first, or the call might fail with the program's error instead.
_LATE_S: Final = 1.0
#: the grace of programs that still run when this process ends
_EXIT_GRACE_S: Final = 1.0
#: arguments of `subprocess.Popen` that this module sets itself
_OWN: Final = ("start_new_session", "process_group", "preexec_fn")


class _Group:
    """The process group of one program."""

    def __init__(self, process: subprocess.Popen[Any], grace_s: float) -> None:
        self._process = process
        self._grace_s = grace_s

    def end(self, grace_s: float | None = None) -> None:
        """End all processes of the group; return when they have ended, or were killed."""
        until = time.monotonic() + (self._grace_s if grace_s is None else grace_s)
        is_there = self._signal(signal.SIGTERM)
        while is_there and time.monotonic() < until:
            time.sleep(_LOOK_S)
            self._process.poll()  # or it would stay in its group as a zombie
            is_there = self._signal(0)
        if is_there:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> bool:
        """Send a signal to all processes of the group; return whether there are any."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            # A group of zombies alone gives the second on some systems.
            return False
        return True


#: the groups that run now, to be ended when this process does
_GROUPS: Final[set[_Group]] = set()
os.register_at_fork(after_in_child=_GROUPS.clear)


@atexit.register
def _end_all() -> None:
    for group in list(_GROUPS):
        group.end(_EXIT_GRACE_S)


def run(
    command: str | Sequence[str | os.PathLike[str]],
    *,
    grace: float | timedelta = 5.0,
    input: Any = None,
    capture_output: bool = False,
    timeout: float | timedelta | None = None,
    check: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[Any]:
    """Run a program in a plain function, and end it when the function is canceled.

    It is `subprocess.run`, but for this: if the call of the function is canceled or passes its
    deadline, or if its task has gone to another node, the program and all that it has started gets
    SIGTERM, and after the grace SIGKILL. The same is done if `timeout` passes. Outside of durable
    functions nothing cancels it.

    Parameters
    ----------
    command : str or sequence of str
        The program and its arguments.
    grace : float or timedelta, optional
        How long the program may take to end after SIGTERM; a number counts seconds.
    input : str or bytes, optional
        What the program reads.
    capture_output : bool, optional
        Whether to return what the program writes.
    timeout : float or timedelta, optional
        How long the program may run; a number counts seconds. None: until the deadline of the call.
    check : bool, optional
        Whether an exit code other than 0 is an error.
    **options
        What else `subprocess.Popen` takes, such as ``text=True``, ``cwd`` and ``env``.

    Returns
    -------
    subprocess.CompletedProcess

    Raises
    ------
    CanceledError
        The function was canceled, and the program has ended. Let it pass: nobody gets what the
        function returns or raises from then on.
    DeadlineExceededError
        The deadline of the call has passed, and the program has ended.
    subprocess.TimeoutExpired
        The `timeout` has passed, and the program has ended.
    subprocess.CalledProcessError
        With `check`: the exit code is not 0.
    ConfigurationError
        An option cannot be used here, or the caller is an ``async def``, which this would block.

    Examples
    --------
    >>> from understudy import subprocesses
    >>> @runtime.register
    ... def shout(ctx, text):
    ...     done = subprocesses.run(
    ...         ["tr", "a-z", "A-Z"], input=text, capture_output=True, text=True, check=True
    ...     )
    ...     return done.stdout
    >>> runtime.rpc("shout-1", shout, "hello").result()
    'HELLO'
    """
    grace_s = seconds("grace", grace, zero=True)
    limit_s = None if timeout is None else seconds("timeout", timeout, zero=False)
    for name in _OWN:
        if name in options:
            raise ConfigurationError(f"option {name}: subprocesses.run sets it itself")
    if in_async_code():
        raise ConfigurationError(
            "subprocesses.run would block the event loop: await trio.run_process, or "
            "asyncio.to_thread(subprocesses.run, ...)"
        )
    if input is not None:
        options["stdin"] = subprocess.PIPE
    if capture_output:
        options["stdout"] = options["stderr"] = subprocess.PIPE
    ctx = current()
    process = subprocess.Popen(command, start_new_session=True, **options)
    group = _Group(process, grace_s)
    _GROUPS.add(group)
    try:
        with nullcontext() if ctx is None else ctx.on_cancel(group.end):
            output = _communicate(process, group, input, _shorter(limit_s, ctx))
        if ctx is not None and ctx.canceled:
            group.end()
            raise DeadlineExceededError(ctx.id) if not ctx.remaining else CanceledError(ctx.id)
    except subprocess.TimeoutExpired:
        if ctx is not None and not ctx.remaining:
            raise DeadlineExceededError(ctx.id) from None
        raise
    finally:
        _GROUPS.discard(group)
    done = subprocess.CompletedProcess(process.args, process.returncode, *output)
    if check:
        done.check_returncode()
    return done


def _shorter(limit_s: float | None, ctx: Context | None) -> float | None:
    """Return after how many seconds a program is to be ended; None: never."""
    limits_s = [] if limit_s is None else [limit_s]
    if ctx is not None:
        limits_s.append(ctx.remaining + _LATE_S)
    shortest_s = min(limits_s, default=_WAIT_MAX_S)
    return None if shortest_s >= _WAIT_MAX_S else shortest_s


def _communicate(
    process: subprocess.Popen[Any], group: _Group, input: Any, limit_s: float | None
) -> tuple[Any, Any]:
    """Return what a program writes; it has ended then, whatever is raised."""
    try:
        return process.communicate(input, limit_s)
    except subprocess.TimeoutExpired as expired:
        group.end()
        expired.output, expired.stderr = process.communicate()
        raise
    except BaseException:
        group.end(0)
        process.wait()
        raise
