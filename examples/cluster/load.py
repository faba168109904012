"""A load of calls: several threads, each of which places one order after the other."""

from __future__ import annotations

import random
import threading
import time
from itertools import count
from typing import Final

from examples.cluster.app import answer
from understudy import Runtime

#: Calls that are under way at the same time.
THREADS: Final = 8
#: The longest pause between the end of a call and the next one of the same thread, in seconds.
PAUSE_S: Final = 0.06


class Load:
    """Places orders from `start` to `stop`.

    Attributes
    ----------
    asked
        Orders that were placed.
    done
        Orders that returned what they must.
    problems
        What else became of orders.
    """

    def __init__(self, url: str) -> None:
        self._runtime = Runtime(group="shoppers", url=url)
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._end = threading.Event()
        #: seconds that each call took which returned since the last `longest_s`
        self._took: list[float] = []
        self.asked = 0
        self.done = 0
        self.problems: list[str] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(THREADS)]

    def start(self) -> None:
        """Begin to place orders."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Place no more orders, and return when all have ended. It blocks."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """End at once; orders that are under way are not waited for."""
        self._end.set()
        self._runtime.stop()

    def longest_s(self) -> float:
        """Return how long a call took at most, of those that returned since this was last asked."""
        with self._lock:
            took, self._took = self._took, []
        return max(took, default=0.0)

    def _run(self) -> None:
        shop = self._runtime.options(target="orders")
        while not self._end.wait(random.uniform(0, PAUSE_S)):
            with self._lock:
                number = next(self._numbers)
                self.asked += 1
            began_at = time.monotonic()
            try:
                found = shop.rpc(f"order-{number}", "order", number).result()
            except Exception as error:
                if self._end.is_set():
                    return
                found = repr(error)
            with self._lock:
                self._took.append(time.monotonic() - began_at)
                if found == answer(number):
                    self.done += 1
                else:
                    self.problems.append(f"order-{number}: {found}")
