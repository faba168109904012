"""Access to the state of a trio loop from other threads: `LoopLock` and `LoopThread`.

How it works
------------
A loop owns state that only one thread may touch at a time: a link, a node's core. To wake a
sleeping loop costs both threads 20 to 50 µs, more than most of the work it would be woken for. So
the loop holds a lock while it runs and releases it while it sleeps in the kernel. Another thread
that acquires it then does the work itself, and the loop sleeps on::

    loop          runs ──┐ sleeps (lock is free) ┌── runs
                         └───────────────────────┘
    other thread              acquire … release

trio calls a loop's instruments around each sleep, on the loop's own thread. `before_io_wait`
releases the lock and `after_io_wait` acquires it again, so no task of the loop ever runs without
the lock. Only a real sleep releases it: with a timeout of 0 the loop polls and goes on at once.

What the holder may do
----------------------
It may read and change everything that the loop owns, except trio's own objects. Events, cancel
scopes and deadlines belong to the loop's thread; the holder asks for those through
`LoopThread.run`. It must not wait for the loop, because the loop waits for the lock. A thread that
waits for the lock (`acquire` with a timeout) must hold nothing that the loop may want.

Why no wake-up is lost
----------------------
Waking the loop needs no lock: the kernel, or a trio token, ends its sleep while another thread
holds the lock. The loop then waits for the lock, and finds its input as soon as it has it. Before
the loop's first sleep and after its end the lock is held, so `acquire` fails.

What is not perfect
-------------------
The loop is late by as long as another thread holds the lock: its timers and its sockets wait
meanwhile. The lock is not fair: with two threads that acquire it all the time the loop waits for
its chance. Both are harmless as long as holders do short work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import trio
from trio.abc import Instrument


class LoopLock(Instrument):
    """A lock on state owned by a trio loop.

    The loop holds it except while it sleeps in the kernel; other threads may take it then. Pass it
    to ``trio.run(..., instruments=[lock])``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # The loop holds it from before its first task until its first sleep.
        self._lock.acquire()

    def acquire(self, timeout_s: float = 0.0) -> bool:
        """Acquire the lock if the loop sleeps, or falls asleep within `timeout_s`.

        Returns
        -------
        bool
            True if the caller holds the lock now, until it calls `release`.
        """
        return self._lock.acquire(timeout=timeout_s) if timeout_s else self._lock.acquire(False)

    def release(self) -> None:
        """Let the loop, or another thread, have the lock."""
        self._lock.release()

    def before_io_wait(self, timeout: float) -> None:
        """Release the lock before a sleep; called by trio."""
        if timeout > 0:
            self._lock.release()

    def after_io_wait(self, timeout: float) -> None:
        """Acquire the lock after a sleep; called by trio, with the same `timeout`."""
        if timeout > 0:
            self._lock.acquire()


class LoopThread:
    """The thread of the trio loop that creates this, and the way to it from other threads.

    Attributes
    ----------
    ident
        The identifier of the thread.
    """

    def __init__(self) -> None:
        self.ident = threading.get_ident()
        self._token = trio.lowlevel.current_trio_token()

    @property
    def is_current(self) -> bool:
        """True if the caller runs on the loop's thread."""
        return threading.get_ident() == self.ident

    def run(self, function: Callable[..., object], *args: object) -> None:
        """Call `function` on the loop's thread: at once if this is it, otherwise soon."""
        if threading.get_ident() == self.ident:
            function(*args)
        else:
            self.run_soon(function, *args)

    def run_soon(
        self, function: Callable[..., object], *args: object, idempotent: bool = False
    ) -> None:
        """Call `function` on the loop's thread, between two of its tasks.

        If the loop has ended, nothing is called. With `idempotent`, equal calls that have not
        happened yet become one.
        """
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function, *args, idempotent=idempotent)
