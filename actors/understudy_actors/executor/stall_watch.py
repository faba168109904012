"""Notices that Python stood still in this process, and which line is to blame.

Code written in C may hold the interpreter for long: a regular expression that backtracks, a power
of large numbers. Until it returns no other thread runs, not even the one that sends heartbeats.
Nothing written in Python can notice that while it lasts. So the node's loop looks at the clock each
second, and if a second took far too long, finds the thread that has used the processor meanwhile.
That thread gives up the interpreter as soon as its call returns, so it is still at the line of it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

#: Modules whose frames are not the user's.
_MACHINERY: Final = (
    "trio.",
    "asyncio.",
    "threading",
    "concurrent.futures",
    "understudy_actors.",
    "understudy.handle",
)
#: A thread that has used the processor for this part of the time has held the interpreter.
_BUSY_SHARE: Final = 0.5


def current_line(thread: threading.Thread) -> str | None:
    """Return the line of the durable function that a thread is at; None if it is in none.

    That is the outermost frame that belongs neither to an event loop nor to this package.
    """
    frame = sys._current_frames().get(thread.ident or 0)
    place = None
    while frame is not None:
        if not frame.f_globals.get("__name__", "").startswith(_MACHINERY):
            code = frame.f_code
            place = f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"
        elif place is not None:
            break
        frame = frame.f_back
    return place


def processor_s(thread: threading.Thread) -> float:
    """Return the seconds for which a thread has used a processor; 0 if it has ended."""
    if thread.ident is None or not hasattr(time, "pthread_getcpuclockid"):
        return 0.0
    if not thread.is_alive():
        return 0.0
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    except OSError:
        # It has ended since.
        return 0.0


class StallWatch:
    """Compares the clock with what it should be, and threads with what they have used.

    Parameters
    ----------
    threads
        Returns the threads that run users' functions.
    stalled_s
        Seconds by which a look may be late.
    clock
        Seconds of a clock that is never set.
    used_s
        Returns the seconds for which a thread has used a processor.
    """

    def __init__(
        self,
        threads: Callable[[], Iterable[threading.Thread]],
        stalled_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        used_s: Callable[[threading.Thread], float] = processor_s,
    ) -> None:
        self._threads = threads
        self._stalled_s = stalled_s
        self._clock = clock
        self._used_s = used_s
        self._looked_at = 0.0
        self._used: dict[threading.Thread, float] = {}

    def begin(self) -> None:
        """Look for the first time, or for the first time after a break."""
        self._looked_at = self._clock()
        self._used = {thread: self._used_s(thread) for thread in self._threads()}

    def look(self, due_s: float) -> str | None:
        """Return a warning if Python stood still since the last look.

        Parameters
        ----------
        due_s
            Seconds after the last look at which this one was to come.
        """
        places = {thread: current_line(thread) for thread in self._threads()}
        before, used = self._looked_at, self._used
        self.begin()
        late_s = self._looked_at - before - due_s
        if late_s < self._stalled_s:
            return None
        busiest = max(
            ((self._used[t] - used.get(t, 0.0), p) for t, p in places.items() if t in self._used),
            key=lambda each: each[0],
            default=(0.0, None),
        )
        if busiest[0] < late_s * _BUSY_SHARE:
            inside = "; ".join(sorted({place for place in places.values() if place is not None}))
            return (
                f"no Python ran in this process for {late_s:.1f} s, so no heartbeat was sent: it "
                f"was stopped, or code in C held the interpreter (functions were at: "
                f"{inside or 'no line'})"
            )
        return (
            f"{busiest[1] or 'a function that has just ended'} has held the interpreter for "
            f"{late_s:.1f} s, so no heartbeat was sent: run code in C that does not release it (a "
            "regular expression, arithmetic with large numbers) in a process of its own, or in "
            "smaller pieces"
        )
