"""Who waits for a socket: the loop that owns it, or another thread in the loop's place.

A worker that has answered and has nothing else to do is the one that the next message is for. If
the loop hears it, it has to wake the worker; if the worker hears it itself, the loop sleeps on. So
the loop waits for a descriptor that can be made deaf (an epoll of its own around the socket's), and
whoever listens in its place waits for the socket's own.
"""

from __future__ import annotations

import os
import select
from threading import Lock


def poll_handoff_of(fd: int) -> PollHandoff | None:
    """One for a socket's descriptor, if this system has what it is made of, and enough of it;
    else the loop hears everything."""
    if not (hasattr(select, "epoll") and hasattr(os, "eventfd")):
        return None
    try:
        return PollHandoff(fd)
    except OSError:
        # no more descriptors: whoever needs one of his own says so
        return None


class PollHandoff:
    """The descriptors around that of one socket.

    Parameters
    ----------
    fd
        The socket's. Readable means that it is time to look, as `sockets` says.

    Attributes
    ----------
    fd
        What the loop waits for.
    """

    def __init__(self, fd: int) -> None:
        self._inner = fd
        self._epoll = select.epoll()
        self._epoll.register(fd, select.EPOLLIN)
        self.fd = self._epoll.fileno()
        self._interruption = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._poll.register(self._interruption, select.POLLIN)
        #: held by who uses these descriptors: once closed, their numbers may be those of others
        self._lock = Lock()
        self._listening = False
        self._closed = False

    def begin(self) -> bool:
        """Listen in the loop's place, until `end`; False: it is closed.

        One thread at a time. The loop may be awake, and take what comes at this moment.
        """
        with self._lock:
            if self._closed:
                return False
            self._listening = True
            self._epoll.modify(self._inner, 0)
            return True

    def end(self) -> None:
        """Let the loop listen again; it hears at once what nobody has taken."""
        with self._lock:
            self._listening = False
            if self._closed:
                self._release()
            else:
                self._epoll.modify(self._inner, select.EPOLLIN)

    def wait(self, timeout_s: float) -> bool:
        """Whether something came, within `timeout_s` and before an `interrupt`."""
        heard = self._poll.poll(timeout_s * 1000)
        if any(fd == self._interruption for fd, _ in heard):
            os.eventfd_read(self._interruption)
            return False
        return bool(heard)

    def interrupt(self) -> None:
        """Let who is in `wait` return, or the next who comes there. From any thread."""
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._interruption, 1)

    def close(self) -> None:
        """Before the socket's own descriptor is closed. Who listens returns at once."""
        self.interrupt()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if not self._listening:
                self._release()

    def _release(self) -> None:
        """Nobody waits for these descriptors any more."""
        self._epoll.close()
        os.close(self._interruption)
