"""Timers on a trio loop, for many waits that mostly end before anything is due.

A cancel scope with a deadline for each wait takes longer than the rest of the wait. Here a timer is
one entry of a heap, and one task for each run of trio sleeps until the first of them is due.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import count

import trio

from understudy.log_lines import say

_TICKERS: trio.lowlevel.RunVar[_Ticker | None] = trio.lowlevel.RunVar("understudy timers")


class Timer:
    """Asks for the next of `pauses` when the seconds before it are over.

    Parameters
    ----------
    pauses
        Endless; gives seconds.
    """

    __slots__ = ("pauses",)

    def __init__(self, pauses: Iterator[float]) -> None:
        self.pauses: Iterator[float] | None = pauses

    def stop(self) -> None:
        """Ask for nothing more."""
        self.pauses = None


def start(pauses: Iterator[float]) -> Timer:
    """Start a timer on the trio loop of the caller.

    Parameters
    ----------
    pauses
        Endless; each item is asked for on the loop, when the seconds given before are over.

    Returns
    -------
    Timer
        Stop it once its wait is over.

    Examples
    --------
    >>> def pauses():
    ...     yield 0.01
    ...     print("due")
    ...     yield 60.0
    >>> async def main():
    ...     timer = start(pauses())
    ...     await trio.sleep(0.1)
    ...     timer.stop()
    >>> trio.run(main)
    due
    """
    ticker = _TICKERS.get(None)
    if ticker is None:
        ticker = _Ticker()
        _TICKERS.set(ticker)
        trio.lowlevel.spawn_system_task(ticker.run)
    timer = Timer(pauses)
    ticker.schedule(timer, trio.current_time())
    return timer


class _Ticker:
    """All timers of one run of trio. Its task ends with the last of them."""

    def __init__(self) -> None:
        #: when each timer is due next, in trio's time, and a number, so that no two are equal
        self._due: list[tuple[float, int, Timer]] = []
        self._numbers = count()
        #: ends when the first of them is due
        self._sleep = trio.CancelScope()

    def schedule(self, timer: Timer, now: float) -> None:
        """Ask the timer for its next pause, after which it is due."""
        if timer.pauses is not None:
            due = now + next(timer.pauses)
            heappush(self._due, (due, next(self._numbers), timer))
            if due < self._sleep.deadline:
                self._sleep.deadline = due

    async def run(self) -> None:
        """Serve the timers until none is left."""
        while self._due:
            with trio.CancelScope(deadline=self._due[0][0]) as self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            while self._due and self._due[0][0] <= now:
                _, _, timer = heappop(self._due)
                try:
                    self.schedule(timer, now)
                except Exception:
                    # An exception here would end the user's whole program.
                    say(logging.ERROR, "a look why a wait takes long has failed", exc_info=True)
        _TICKERS.set(None)
