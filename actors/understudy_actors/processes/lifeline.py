"""The lifeline: a pipe by which children notice that their parent is gone.

Only the parent holds the write end, and it never writes: when the parent ends, however it ends, the
kernel closes that end and every child reads end-of-file. This needs no signals and no polling, has
no race with the reuse of process ids, and works for a parent killed with SIGKILL.
"""

from __future__ import annotations

import os
import stat
import threading
import weakref
from collections.abc import Callable, MutableMapping

#: Variable in a child's environment: the number of the descriptor to watch.
LIFELINE_ENV = "UNDERSTUDY_LIFELINE_FD"


class Lifeline:
    """The parent's side: one pipe for all its children."""

    def __init__(self) -> None:
        #: inherited by children (`pass_fds`); its number goes into `LIFELINE_ENV`
        self.read_fd, self._write_fd = os.pipe()
        _lifelines.add(self)

    def close(self) -> None:
        """Close both ends: children that still watch act as if this process had ended."""
        self.close_write_end()
        if self.read_fd >= 0:
            os.close(self.read_fd)
            self.read_fd = -1

    def close_write_end(self) -> None:
        """Close the end whose closing children watch for."""
        if self._write_fd >= 0:
            os.close(self._write_fd)
            self._write_fd = -1


_lifelines: weakref.WeakSet[Lifeline] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # A plain fork (such as multiprocessing's) copies the write end. The copy would keep the pipe
    # open after the death of the parent.
    for lifeline in list(_lifelines):
        lifeline.close_write_end()


os.register_at_fork(after_in_child=_after_fork_in_child)


def watch_lifeline(
    on_eof: Callable[[], None], environ: MutableMapping[str, str] | None = None
) -> bool:
    """Call `on_eof` once, on a daemon thread, when the parent of this process is gone.

    Parameters
    ----------
    on_eof
        Must be safe to call from another thread: it typically asks the node to drain.
    environ
        The environment that holds `LIFELINE_ENV`, by default `os.environ`. The entry is removed
        because a process started from here would inherit the number, but not the descriptor.

    Returns
    -------
    bool
        False if there is no lifeline, because no pool has started this process.
    """
    text = (os.environ if environ is None else environ).pop(LIFELINE_ENV, None)
    if text is None or not text.isdecimal():
        return False
    fd = int(text)
    try:
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            return False
        os.set_inheritable(fd, False)
    except OSError:
        return False
    thread = threading.Thread(
        target=_wait_for_eof, args=(fd, on_eof), name="understudy-lifeline", daemon=True
    )
    thread.start()
    return True


def _wait_for_eof(fd: int, on_eof: Callable[[], None]) -> None:
    while os.read(fd, 1):
        pass
    os.close(fd)
    on_eof()
