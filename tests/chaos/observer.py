"""An observer: reads the broker's counters from time to time."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Final, Self

from understudy import Runtime, UnderstudyError

#: Seconds between two reads; events that a broker counts after the last one are missed.
LOOK_S: Final = 0.2


class Observer:
    """Reads the counters of each broker at `url`; ``total("stale_writes")`` is their sum."""

    def __init__(self, url: str) -> None:
        self._runtime = Runtime(group="observer", url=url, connect_timeout=1.0)
        #: Counters of the brokers that are gone, and of the current one.
        self._past: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def total(self, counter: str) -> int:
        """Return the sum of a counter over all brokers, as far as it was read."""
        return self._past.get(counter, 0) + self._last.get(counter, 0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()
        self._runtime.stop()

    def _run(self) -> None:
        while not self._end.wait(LOOK_S):
            try:
                counted = self._runtime.groups().counters
            except UnderstudyError:
                continue  # The broker is down.
            if counted["frames"] < self._last.get("frames", 0):
                # A new broker has taken over and counts from zero.
                self._past = {name: self.total(name) for name in counted}
            self._last = counted
