"""The fork server: a program that has imported everything and forks instead of starting again.

The start of a node is mostly imports. A pool that wants many processes of one program starts it
once as a *fork server*: it runs up to its `fork_point`, and from there it forks one child for each
request, in a few milliseconds and with most of its memory shared. A fork server has no threads, no
event loop and no ZeroMQ context, because none of them survives a fork. An app whose import has left
threads or connections behind is refused, and so is one that has made values that must differ in
each process (`import_watch`): the pool starts its processes one by one.

Pool and fork server talk over a socket that keeps messages apart. A request is JSON together with
the descriptors of the child's output and of its lifeline; the answer is the child's pid together
with a descriptor of the process (pidfd). The fork server is the parent of its children, so it reaps
them and reports each exit code. It ends when the pool closes the socket, and not before: a SIGTERM
to all processes of a service is for the children, whose exit codes would be lost without it.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import stat
import sys
import sysconfig
import threading
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

from understudy_actors.processes.import_watch import ImportWatch
from understudy_actors.processes.lifeline import LIFELINE_ENV
from understudy_broker.process import STOP_SIGNALS

#: Variable in the environment of a fork server: the number of the socket to its pool.
FORK_SERVER_ENV: Final = "UNDERSTUDY_FORK_SERVER_FD"

#: Bytes of one message between a pool and a fork server.
MESSAGE_BYTES_MAX: Final = 128 * 1024

#: Variable of the environment: "0" turns forking off, and all processes are started one by one.
FORK_ENV: Final = "UNDERSTUDY_FORK"

_SQLITE: Final = b"SQLite format 3\0"

#: True if this system can fork processes for a pool, which takes Linux and its pidfds.
FORKING_SUPPORTED: Final = sys.platform == "linux" and hasattr(os, "pidfd_open")


def output_encoding() -> str | None:
    """Return the encoding that a pool expects of this process; None if none reads its output."""
    supervised = FORK_SERVER_ENV in os.environ or LIFELINE_ENV in os.environ
    try:
        is_piped = stat.S_ISFIFO(os.fstat(1).st_mode)
    except OSError:
        is_piped = False
    return "utf-8" if supervised and is_piped else None


def watch_import() -> ImportWatch | None:
    """Watch the import of the app, if this process is a fork server; pass it to `fork_point`."""
    return ImportWatch() if FORK_SERVER_ENV in os.environ else None


def fork_point(*modules: str, watch: ImportWatch | None = None) -> Sequence[str] | None:
    """Mark the place where a program may be forked: it has imported everything by then.

    In a fork server this call returns only in the children, once in each.

    Parameters
    ----------
    modules
        Names of modules to import in a fork server, because its children will need them. A process
        that is not forked loads them when it uses them.
    watch
        As `watch_import` has returned it, before the import of the app.

    Returns
    -------
    Sequence[str] | None
        The child's own arguments (`ProcessSpec.own_args`); None in a process that was started as a
        program.
    """
    if watch is not None:
        watch.finish()
    text = os.environ.pop(FORK_SERVER_ENV, None)
    if text is None or not text.isdecimal():
        return None
    for name in modules:
        import_module(name)
    control = socket.socket(fileno=int(text))
    control.set_inheritable(False)
    refusal = _refusal(control.fileno(), watch)
    if refusal is not None:
        _send(control, {"refused": refusal})
        _leave()
    return ForkServer(control, watch).serve()


def _refusal(control_fd: int, watch: ImportWatch | None) -> str | None:
    """Say what the import does that makes this process unfit to be forked, if anything."""
    leftover = _leftover(control_fd)
    if leftover is not None:
        return f"leaves {leftover} behind"
    if watch is not None and watch.finding is not None:
        return (
            f"{watch.finding}, which must not be the same in each of them: for faster starts do so "
            "in a function with @runtime.on_node_start"
        )
    return None


def _leftover(control_fd: int) -> str | None:
    """Name a thread or descriptor that makes this process unfit to be forked, if there is one."""
    others = sum(1 for _ in Path("/proc/self/task").iterdir()) - 1
    if others:
        names = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
        what = "a thread" if others == 1 else f"{others} threads"
        return f"{what} besides the main one ({', '.join(names) or 'not of Python'})"
    for link in Path("/proc/self/fd").iterdir():
        if int(link.name) not in (0, 1, 2, control_fd):
            kind = _unsharable_kind(link)
            if kind is not None:
                return f"an open {kind}"
    return None


def _unsharable_kind(link: Path) -> str | None:
    """Name the kind of a descriptor if two processes must not share it."""
    try:
        kind = str(link.readlink())
        if kind.startswith("socket:"):
            return "socket"
        if kind.startswith("anon_inode:"):  # such as an epoll or an eventfd
            return kind.removeprefix("anon_inode:").strip("[]")
        if link.is_file():
            with link.open("rb") as file:
                # SQLite's locks do not survive a fork, and its log may be damaged by two users.
                return "SQLite database" if file.read(len(_SQLITE)) == _SQLITE else None
    except OSError:
        # Either the descriptor of this listing, closed by now, or a file that cannot be read.
        return None
    return None


class ForkServer:
    """The loop of a fork server: forks on request, reaps and reports. No threads."""

    def __init__(self, control: socket.socket, watch: ImportWatch | None = None) -> None:
        self._control = control
        self._watch = watch
        #: pidfd to pid of the children that run
        self._children: dict[int, int] = {}
        self._sources = _sources()
        #: as `signal.signal` has returned them: of any type
        self._handlers_before: dict[signal.Signals, Any] = {}
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def serve(self) -> list[str]:
        """Serve requests; return the child's own arguments, in each child."""
        # Everything imported stays alive. Frozen, its pages stay shared when children collect.
        gc.collect()
        gc.freeze()
        for number in STOP_SIGNALS:
            self._handlers_before[number] = signal.signal(number, signal.SIG_IGN)
        _send(self._control, {"ready": os.getpid()})
        while True:
            for fd, _ in self._poll.poll():
                if fd != self._control.fileno():
                    self._reap(fd)
                    continue
                own_args = self._handle_request()
                if own_args is not None:
                    return own_args

    def _handle_request(self) -> list[str] | None:
        """Fork a child; return its own arguments in the child, and None in the fork server."""
        try:
            data, fds, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES_MAX, 2)
        except ConnectionResetError:
            _leave()
        if not data:
            _leave()
        own_args: list[str] = json.loads(data)
        changed = [path for path, mtime_ns in self._sources.items() if mtime_ns != _mtime_ns(path)]
        if changed:
            for fd in fds:
                os.close(fd)
            _send(self._control, {"stale": Path(changed[0]).name})
            return None
        _flush()
        # The child ignores the signals until it has its handlers back. Blocked, one that comes
        # before that waits; ignored, it would be lost, and the child would never end.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        pid = os.fork()
        if pid == 0:
            self._become_child(*fds)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            return own_args
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for fd in fds:
            os.close(fd)
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = pid
        self._poll.register(pidfd, select.POLLIN)
        _send(self._control, {"forked": pid}, pidfd)
        return None

    def _become_child(self, output_fd: int, lifeline_fd: int) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        os.setsid()
        os.environ[LIFELINE_ENV] = str(lifeline_fd)
        self._control.close()
        for fd in self._children:
            os.close(fd)
        input_fd = os.open(os.devnull, os.O_RDONLY)
        os.dup2(input_fd, 0)
        os.dup2(output_fd, 1)
        os.dup2(output_fd, 2)
        os.close(input_fd)
        os.close(output_fd)
        if self._watch is not None:
            self._watch.reseed()
        # NumPy's generator would repeat in every child. Python's own is seeded anew after a fork.
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
    """Return the files of imported modules outside the installation, with their times of change.

    A process that is started again runs the code that is on disk by then. To keep that true for
    forked processes, a fork server with old code refuses to fork.
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
    """End at once, without the app's exit handlers: they are for processes that ran the app."""
    _flush()
    os._exit(0)
