"""Who may touch what belongs to a trio loop: the loop itself, and others while it sleeps.

What a loop owns (a link, a node's core) only one thread may touch at a time, and nearly always that
is the loop's own. To wake a sleeping thread costs both sides 20 to 50 µs, more than most of what it
would be woken for. So while the loop sleeps in the kernel its turn may be borrowed: who has it does
the loop's work on the thread that it is on, and gives the turn back.

Under a borrowed turn no trio primitive may be used: they belong to the loop's thread. What is to
happen there (an event, a new deadline) is asked for through the loop's token.
"""

from __future__ import annotations

from threading import Lock

from trio.abc import Instrument


class LoopLock(Instrument):
    """The turn of a loop: passed to ``trio.run(..., instruments=[turn])``."""

    def __init__(self) -> None:
        # the loop's, from before it begins until after it has ended
        self._lock = Lock()
        self._lock.acquire()
        self._lent = False

    def borrow(self, timeout_s: float = 0.0) -> bool:
        """Whether the turn is the caller's now, until `give_back`. Waits for `timeout_s` at most;
        the caller must hold nothing that the loop may wait for."""
        return self._lock.acquire(timeout=timeout_s) if timeout_s else self._lock.acquire(False)

    def give_back(self) -> None:
        """The loop may have it again."""
        self._lock.release()

    def before_io_wait(self, timeout: float) -> None:
        """The loop goes to sleep; with no `timeout` it only looks."""
        if timeout > 0:
            self._lent = True
            self._lock.release()

    def after_io_wait(self, timeout: float) -> None:
        """The loop goes on, once nobody else has its turn."""
        del timeout
        if self._lent:
            self._lent = False
            self._lock.acquire()
