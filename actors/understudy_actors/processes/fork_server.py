"""Templates: a program that has imported everything, and forks instead of being started again.

Starting a node is mostly importing. A pool that wants many processes of one program starts it once,
as a *template*: it runs up to its `fork_point`, and from there on forks one child for each request,
in a few milliseconds and with most of its memory shared. The template has no threads, no event loop
and no ZeroMQ context, for none of them survives a fork; an app whose import has left threads or
connections behind is refused, and the pool starts its processes one by one.

The two talk over a socket that keeps messages apart. A request is JSON and the descriptor of the
child's output; the answer is its pid and a descriptor of the process (pidfd). The template is the
parent, so it reaps, and reports how each child ended. When the pool closes the socket it leaves.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import sys
import sysconfig
import threading
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

#: In a template's environment: the number of the socket to its pool.
TEMPLATE_ENV: Final = "UNDERSTUDY_TEMPLATE_FD"

#: Bytes of one message between a pool and a template.
MESSAGE_BYTES_MAX: Final = 128 * 1024

#: "0" in the environment: processes are started one by one, whatever could be forked.
FORK_ENV: Final = "UNDERSTUDY_FORK"

_SQLITE: Final = b"SQLite format 3\0"

#: Whether processes can be made this way here: it needs Linux and its pidfds.
FORKING_SUPPORTED: Final = sys.platform == "linux" and hasattr(os, "pidfd_open")


def fork_point(*modules: str) -> Sequence[str] | None:
    """Where a program may be forked: called once it has imported all that it needs.

    In a template this does not return, but in each of its children.

    Parameters
    ----------
    modules
        Imported in a template, for its children will need them; others load them in their time.

    Returns
    -------
    The child's own arguments (`ProcessSpec.own_args`); None in a process that was simply started.
    """
    text = os.environ.pop(TEMPLATE_ENV, None)
    if text is None or not text.isdecimal():
        return None
    for name in modules:
        import_module(name)
    control = socket.socket(fileno=int(text))
    control.set_inheritable(False)
    why_not = _why_not(control.fileno())
    if why_not is not None:
        _send(control, {"refused": why_not})
        _leave()
    return _Template(control).serve()


def _why_not(control_fd: int) -> str | None:
    """What makes this process unfit to be forked."""
    others = sum(1 for _ in Path("/proc/self/task").iterdir()) - 1
    if others:
        names = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
        what = "a thread" if others == 1 else f"{others} threads"
        return f"{what} besides the main one ({', '.join(names) or 'not of Python'})"
    for link in Path("/proc/self/fd").iterdir():
        if int(link.name) not in (0, 1, 2, control_fd):
            unfit = _unfit(link)
            if unfit is not None:
                return f"an open {unfit}"
    return None


def _unfit(link: Path) -> str | None:
    """What a descriptor is, if two processes must not both go on with it."""
    try:
        kind = str(link.readlink())
        if kind.startswith("socket:"):
            return "socket"
        if kind.startswith("anon_inode:"):  # an epoll, an eventfd
            return kind.removeprefix("anon_inode:").strip("[]")
        if link.is_file():
            with link.open("rb") as file:
                # its locks do not survive a fork, and its log may be damaged
                return "SQLite database" if file.read(len(_SQLITE)) == _SQLITE else None
    except OSError:
        return None  # the descriptor of the listing; a file that may only be written
    return None


class _Template:
    """The loop of a template: forks on request, reaps, reports. No signals, no threads."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        #: pidfd to pid of the children that run
        self._children: dict[int, int] = {}
        self._sources = _sources()
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def serve(self) -> list[str]:
        # what is there is there to stay: children that collect garbage do not copy its pages
        gc.collect()
        gc.freeze()
        _send(self._control, {"ready": os.getpid()})
        while True:
            for fd, _ in self._poll.poll():
                if fd != self._control.fileno():
                    self._reap(fd)
                    continue
                own_args = self._obey()
                if own_args is not None:
                    return own_args

    def _obey(self) -> list[str] | None:
        """One request; returns in the child."""
        try:
            data, fds, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES_MAX, 1)
        except ConnectionResetError:
            _leave()
        if not data:
            _leave()
        own_args: list[str] = json.loads(data)
        changed = [path for path, mtime_ns in self._sources.items() if mtime_ns != _mtime_ns(path)]
        if changed:
            os.close(fds[0])
            _send(self._control, {"stale": Path(changed[0]).name})
            return None
        _flush()
        pid = os.fork()
        if pid == 0:
            self._become_child(fds[0])
            return own_args
        os.close(fds[0])
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = pid
        self._poll.register(pidfd, select.POLLIN)
        _send(self._control, {"forked": pid}, pidfd)
        return None

    def _become_child(self, output_fd: int) -> None:
        os.setsid()
        self._control.close()
        for fd in self._children:
            os.close(fd)
        input_fd = os.open(os.devnull, os.O_RDONLY)
        os.dup2(input_fd, 0)
        os.dup2(output_fd, 1)
        os.dup2(output_fd, 2)
        os.close(input_fd)
        os.close(output_fd)
        # Python's own generator does this by itself
        numpy_random: Any = sys.modules.get("numpy.random")
        if numpy_random is not None:
            numpy_random.seed()

    def _reap(self, pidfd: int) -> None:
        self._poll.unregister(pidfd)
        pid = self._children.pop(pidfd)
        _, status = os.waitpid(pid, 0)
        os.close(pidfd)
        _send(self._control, {"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _sources() -> dict[str, int]:
    """The files of the imported modules that are nobody's installation, and when they changed.

    A process that is started again runs the code that is on disk then; so does one that is forked.
    """
    installed = tuple({*map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib"))})
    paths = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    return {
        path: _mtime_ns(path)
        for path in paths
        if isinstance(path, str) and not path.startswith(installed)
    }


def _mtime_ns(path: str) -> int:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0


def _send(control: socket.socket, message: dict[str, Any], fd: int | None = None) -> None:
    try:
        socket.send_fds(control, [json.dumps(message).encode()], [] if fd is None else [fd])
    except (BrokenPipeError, ConnectionResetError):
        _leave()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _leave() -> NoReturn:
    """End here: what the app wants done at its end is for those that were it."""
    _flush()
    os._exit(0)
