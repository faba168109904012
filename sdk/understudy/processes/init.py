"""The first process of a container: reaps what others leave behind, and passes signals on.

When a process ends, its children become those of process 1, which must wait for them: until then
they stay as zombies, and use up the bound of processes. Process 1 also gets no signal that it has
no handler for. So a command that finds itself to be process 1 forks: the child runs the command,
and the parent does nothing but this.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Final, NoReturn

#: `si_code` of signals from another process; those from a terminal have a greater one
_FROM_A_PROCESS: Final = 0


def become_init() -> None:
    """Fork if this is process 1, and return in the child only; otherwise return at once.

    Call it before there are threads.
    """
    if os.getpid() != 1 or not hasattr(signal, "sigwaitinfo"):
        return
    # Blocked, so that none is lost: `_serve` takes them one by one.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    child = os.fork()
    if child:
        _serve(child)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(child: int) -> NoReturn:
    """Reap and pass on signals until `child` has ended; then end like it.

    The kernel then kills what is left in the container.
    """
    while True:
        got = signal.sigwaitinfo(signal.valid_signals())
        if got.si_signo == signal.SIGCHLD:
            _reap(child)
        elif got.si_code <= _FROM_A_PROCESS:
            # One from a terminal has reached the child already, as a member of the same group.
            with suppress(ProcessLookupError):
                os.kill(child, got.si_signo)


def _reap(child: int) -> None:
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)
