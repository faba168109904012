"""A process that is a node until a signal comes."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Becomes set with the first signal; the second ends the process at once."""

    def __init__(self) -> None:
        self._event = threading.Event()
        #: number of the signal that came, 0 before
        self.signal = 0

    def set(self) -> None:
        self._event.set()

    def wait(self) -> None:
        self._event.wait()

    def on_signal(self, number: int, _: FrameType | None) -> None:
        if self.signal:
            os._exit(128 + number)
        self.signal = number
        self._event.set()


def tune_process() -> None:
    """For a process that is a node and nothing else: what is there now is there to stay, garbage
    is looked for less often, and the mailbox need not wait long for its turn."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    sys.setswitchinterval(0.0005)


@contextmanager
def stop_at_signal() -> Iterator[Stop]:
    """A `Stop` that SIGTERM, SIGINT and the end of the parent's lifeline set, inside the block.

    Signals reach the main thread only; on another one the lifeline alone does it.
    """
    from understudy_actors.processes.lifeline import watch_lifeline

    stop = Stop()
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, stop.on_signal) for number in _SIGNALS if main}
    watch_lifeline(stop.set)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
