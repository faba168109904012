"""Polling a socket: which thread does it (`PollHandoff`), and when it spins first (`BusyPoll`).

`JointPoll` waits for other descriptors beside the socket's. All of them save the wake-up of a
sleeping thread, which takes 20 to 50 µs and on a virtual machine more. A hop of a call takes about
as long, so wake-ups would be half of its time.

Poll hand-off
-------------
After a worker sends a result, the next message is usually its next task. If the loop received it,
the loop would have to wake the worker. So the worker polls the socket itself and the loop sleeps
on. `PollHandoff` has two states, and a third at the end:

- *loop polls*: the loop waits for `loop_fd`, an epoll set that contains the socket's descriptor.
- *worker polls* (from `take_over` to `hand_back`): the epoll set ignores the socket's descriptor,
  so the loop sleeps on, whatever arrives. One worker waits in `poll` for the socket's descriptor
  or an interruption.
- *closed*: the descriptors are closed as soon as no worker uses them.

A worker polls without holding any lock. Before it touches the socket it acquires the `LoopLock`; if
the loop is awake it does not wait long, but hands the polling back and leaves the message to the
loop.

No message is left unseen. A socket's descriptor stays readable until somebody processes what is
behind it, and the epoll set is level-triggered: when `hand_back` adds the descriptor again, the
loop is woken at once by whatever is still there. If a worker's own send or receive has reset the
descriptor while messages remain, `TrioSocket` wakes the loop (see `socket`). An interruption is a
counter in an eventfd: if it comes before `poll`, that `poll` returns at once.

`poll` ends by input, by its timeout, by `interrupt` (there is other work for the worker) and by
`close`. After `close` the numbers of the descriptors may soon belong to somebody else's files.
`_lock` prevents that they are used then: `take_over`, `hand_back`, `interrupt` and `close` hold it,
and a worker in `poll` keeps them open until its `hand_back`.

This needs epoll and eventfd, so Linux. On other systems, and when the process has run out of
descriptors, `poll_handoff_for` returns None and the loop always polls.

Busy polling
------------
Between two hops of a call the broker waits for a node for a fraction of a millisecond. `BusyPoll`
polls in a loop for that time, instead of sleeping. It does so only after a wait that was short
(`SHORT_WAIT_S`), for a bounded time, and gives up after the first time in vain, until another sleep
turns out to have been short. So a broker without work sleeps.

Between two polls it yields the processor, because the process that is to send may need it. With a
single processor it never spins.

It is not perfect: under load that is just slow enough, each spin is in vain, and costs up to its
bound of processor time for each message.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress
from threading import Lock
from time import perf_counter
from typing import Final

#: a sleep shorter than this would better have been a busy poll
SHORT_WAIT_S: Final = 0.001


def poll_handoff_for(fd: int) -> PollHandoff | None:
    """Return a `PollHandoff` for a socket's descriptor, or None if the loop must always poll.

    That is so on systems without epoll or eventfd, and when there are no more descriptors. The
    latter is not an error here: whatever cannot do without a descriptor will report it.
    """
    if not (hasattr(select, "epoll") and hasattr(os, "eventfd")):
        return None
    try:
        return PollHandoff(fd)
    except OSError:
        return None


class PollHandoff:
    """Passes the polling of one socket from the loop to a worker and back.

    Parameters
    ----------
    fd
        The socket's descriptor. It belongs to the socket and must stay open until `close`.

    Attributes
    ----------
    loop_fd
        The descriptor that the loop waits for.
    """

    def __init__(self, fd: int) -> None:
        self._socket_fd = fd
        self._epoll = select.epoll()
        self._epoll.register(fd, select.EPOLLIN)
        self.loop_fd = self._epoll.fileno()
        self._interruption_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._poll.register(self._interruption_fd, select.POLLIN)
        #: held while descriptors are used, because a closed one may be somebody else's by then
        self._lock = Lock()
        self._worker_polls = False
        self._closed = False

    @property
    def worker_polls(self) -> bool:
        """True between `take_over` and `hand_back`."""
        with self._lock:
            return self._worker_polls

    def take_over(self) -> bool:
        """Let the calling thread poll, until `hand_back`.

        One thread at a time may do so. The loop may be awake at this moment, and receive what is
        there.

        Returns
        -------
        bool
            False if this is closed.
        """
        with self._lock:
            if self._closed:
                return False
            self._worker_polls = True
            self._epoll.modify(self._socket_fd, 0)
            return True

    def hand_back(self) -> None:
        """Let the loop poll again. What is still there wakes it at once."""
        with self._lock:
            self._worker_polls = False
            if self._closed:
                self._close_descriptors()
            else:
                self._epoll.modify(self._socket_fd, select.EPOLLIN)

    def poll(self, timeout_s: float) -> bool:
        """Wait for input; called between `take_over` and `hand_back`.

        Returns
        -------
        bool
            True if there is input. False after `timeout_s`, or after an `interrupt`.
        """
        ready = self._poll.poll(timeout_s * 1000)
        for fd, _ in ready:
            if fd == self._interruption_fd:
                os.eventfd_read(fd)
                return False
        return bool(ready)

    def interrupt(self) -> None:
        """Make the current `poll` return, or else the next one. Any thread may call this."""
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._interruption_fd, 1)

    def close(self) -> None:
        """Stop the polling; called before the socket is closed. A `poll` returns at once."""
        self.interrupt()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if not self._worker_polls:
                self._close_descriptors()

    def _close_descriptors(self) -> None:
        self._epoll.close()
        os.close(self._interruption_fd)


def joint_poll_for(fd: int) -> JointPoll | None:
    """Return a `JointPoll` for a socket's descriptor; None as for `poll_handoff_for`."""
    if not hasattr(select, "epoll"):
        return None
    try:
        return JointPoll(fd)
    except OSError:
        return None


class JointPoll:
    """Waits for a socket's descriptor, and for others that may change from time to time.

    Parameters
    ----------
    fd
        The socket's descriptor. It must stay open until `close`.

    Attributes
    ----------
    fd
        The descriptor of all: readable when one of them is.
    """

    def __init__(self, fd: int) -> None:
        self._epoll = select.epoll()
        self._epoll.register(fd, select.EPOLLIN)
        self.fd = self._epoll.fileno()
        self._others: tuple[int, ...] = ()

    def join(self, others: tuple[int, ...]) -> None:
        """Wait for `others` from now on, and not for those before."""
        for other in self._others:
            if other not in others:
                with suppress(OSError):  # it is closed, and so has left by itself
                    self._epoll.unregister(other)
        self._others = others
        for other in others:
            # By now a number may be that of another file, in the place of one that was closed.
            try:
                self._epoll.modify(other, select.EPOLLIN)
            except FileNotFoundError:
                self._epoll.register(other, select.EPOLLIN)

    def close(self) -> None:
        """Wait for nothing any more; called before the socket is closed."""
        self._epoll.close()


class BusyPoll:
    """Polls a descriptor without sleeping, while recent sleeps suggest that it saves time.

    Parameters
    ----------
    fd
        The descriptor to poll.
    limit_s
        How long to poll each time; 0 for never. On a single processor it is always 0, because the
        sender could not run meanwhile.
    """

    def __init__(self, fd: int, limit_s: float) -> None:
        self._limit_s = limit_s if available_processors() > 1 else 0.0
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        #: True if the last sleep was short and no poll since was in vain
        self.worthwhile = False

    def poll(self, timeout_s: float) -> bool:
        """Poll for `timeout_s` at most, and only if that is worthwhile.

        Returns
        -------
        bool
            True if the descriptor is readable. False means: sleep.
        """
        if not self.worthwhile:
            return False
        until = perf_counter() + min(self._limit_s, timeout_s)
        # Each call releases the interpreter lock, so other threads of this process go on.
        poll = self._poll.poll
        while not poll(0):
            if perf_counter() >= until:
                self.worthwhile = False
                return False
            _yield_processor()
        return True

    def record_sleep(self, seconds: float) -> None:
        """Learn from a sleep: after a short one, polling is worthwhile."""
        self.worthwhile = seconds < SHORT_WAIT_S and self._limit_s > 0


def available_processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _yield_processor() -> None:
    """Let another process run on this processor, if one is ready to."""
    if hasattr(os, "sched_yield"):
        os.sched_yield()
