"""To look for a while before going to sleep, where that pays.

Between two hops of a call the broker waits for a node for a fraction of a millisecond. To be put to
sleep and woken again takes a good part of that, on a virtual machine most of it. So it looks first,
but only after a wait that was short, and only as long as looking finds something: whoever has
nothing to do sleeps.
"""

from __future__ import annotations

import os
import select
from time import perf_counter
from typing import Final

#: a wait that ended so soon would have been worth looking
SHORT_S: Final = 0.001


def processors() -> int:
    """How many this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class BusyPoll:
    """Whether looking pays, learnt from the waits so far.

    Parameters
    ----------
    fd
        What becomes readable.
    most_s
        How long to look, before each sleep; 0: never. Never on one processor either: it would keep
        those from running that are waited for.
    """

    def __init__(self, fd: int, most_s: float) -> None:
        self._most_s = most_s if processors() > 1 else 0.0
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self.pays = False

    def look(self, timeout_s: float) -> bool:
        """Look for as long as pays, `timeout_s` at most. Whether `fd` became readable."""
        if not self.pays:
            return False
        until = perf_counter() + min(self._most_s, timeout_s)
        # each look lets go of the interpreter, for other threads of this process
        poll = self._poll.poll
        while not poll(0):
            if perf_counter() >= until:
                self.pays = False
                return False
            _give_way()
        return True

    def slept(self, seconds: float) -> None:
        """It was waited so long, asleep."""
        self.pays = seconds < SHORT_S and self._most_s > 0


def _give_way() -> None:
    """Let another process have the processor, if one wants it."""
    if hasattr(os, "sched_yield"):
        os.sched_yield()
