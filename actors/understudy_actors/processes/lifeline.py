"""The lifeline: a socket between a process and its parent.

Only the parent holds its end: when the parent ends, however it ends, the kernel closes that end and
the child reads end-of-file. This needs no signals and no polling, has no race with the reuse of
process ids, and works for a parent killed with SIGKILL.

While both live, single bytes go over it:

- The child says that it serves (`READY`). Whatever ends it from then on was not its start.
- The child says that a signal asks it to stop (`ASKED`). A service manager may signal all processes
  of a service at once, but a broker has to outlive the nodes that still finish their calls. So the
  child waits for its parent, which knows whether everything is to stop.
- The parent says: stop now (`STOP`).
"""

from __future__ import annotations

import os
import socket
import stat
import threading
import weakref
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Final

from understudy_broker.output import silence_broken_output

#: Variable in a child's environment: the number of the descriptor to watch.
LIFELINE_ENV: Final = "UNDERSTUDY_LIFELINE_FD"

READY: Final = b"r"
ASKED: Final = b"a"
STOP: Final = b"s"


class Lifeline:
    """The parent's side of one line, for one child at a time."""

    def __init__(self) -> None:
        self._parent_end, self._child_end = socket.socketpair()
        self._parent_end.setblocking(False)
        _lifelines.add(self)

    @property
    def child_fd(self) -> int:
        """The child's end, to be inherited (`pass_fds`); its number goes into `LIFELINE_ENV`."""
        return self._child_end.fileno()

    def fileno(self) -> int:
        """Return the descriptor to wait for before `receive`; -1 once it is closed."""
        return self._parent_end.fileno()

    def receive(self) -> bytes:
        """Return what the child has said since the last call; nothing if it has closed its end."""
        try:
            return self._parent_end.recv(16)
        except OSError:
            return b""

    def request_stop(self) -> None:
        """Tell the child to stop. A child that does not listen is no error."""
        with suppress(OSError):
            self._parent_end.send(STOP)

    def close(self) -> None:
        """Close both ends: a child that still watches acts as if this process had ended."""
        self.close_parent_end()
        self.close_child_end()

    def close_parent_end(self) -> None:
        """Close the end whose closing the child watches for."""
        self._parent_end.close()

    def close_child_end(self) -> None:
        """Close this process's copy of the child's end, once the child has its own."""
        self._child_end.close()


_lifelines: weakref.WeakSet[Lifeline] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # A plain fork (such as multiprocessing's) copies the parent's end. The copy would keep the line
    # open after the death of the parent.
    for lifeline in list(_lifelines):
        lifeline.close_parent_end()


os.register_at_fork(after_in_child=_after_fork_in_child)


class WatchedLifeline:
    """The child's side of a line; made by `watch_lifeline`."""

    def __init__(self, fd: int, on_gone: Callable[[], None], on_stop: Callable[[], None]) -> None:
        self._fd = fd
        self._on_gone = on_gone
        self._on_stop = on_stop

    def report_ready(self) -> None:
        """Tell the parent that this process serves."""
        self._tell(READY)

    def ask_to_stop(self) -> None:
        """Tell the parent that a signal asks this process to stop; may be called by a handler."""
        self._tell(ASKED)

    def watch(self) -> None:
        """Call back at each message, and once more at the parent's end."""
        with suppress(OSError):
            while os.read(self._fd, 1):
                self._on_stop()
        fd, self._fd = self._fd, -1
        os.close(fd)
        silence_broken_output()
        self._on_gone()

    def _tell(self, message: bytes) -> None:
        # A parent that is gone needs no message. SIGPIPE is ignored in Python's processes.
        if self._fd >= 0:
            with suppress(OSError):
                os.write(self._fd, message)


def watch_lifeline(
    on_gone: Callable[[], None],
    environ: MutableMapping[str, str] | None = None,
    *,
    on_stop: Callable[[], None] | None = None,
) -> WatchedLifeline | None:
    """Call `on_gone` once, on a daemon thread, when the parent of this process is gone.

    Output that has led to the parent leads to nothing by then, so that prints do not fail.

    Parameters
    ----------
    on_gone
        Must be safe to call from another thread: it typically asks the node to drain.
    environ
        The environment that holds `LIFELINE_ENV`, by default `os.environ`. The entry is removed
        because a process started from here would inherit the number, but not the descriptor.
    on_stop
        Called on that thread when the parent says that this process is to stop now. By default
        nothing, because the parent sends SIGTERM as well.

    Returns
    -------
    WatchedLifeline | None
        None if there is no lifeline, because nothing has started this process with one.
    """
    text = (os.environ if environ is None else environ).pop(LIFELINE_ENV, None)
    if text is None or not text.isdecimal():
        return None
    fd = int(text)
    try:
        if not stat.S_ISSOCK(os.fstat(fd).st_mode):
            return None
        os.set_inheritable(fd, False)
    except OSError:
        return None
    lifeline = WatchedLifeline(fd, on_gone, on_stop or _do_nothing)
    threading.Thread(target=lifeline.watch, name="understudy-lifeline", daemon=True).start()
    return lifeline


def _do_nothing() -> None:
    return
