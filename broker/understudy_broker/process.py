"""Rules that the processes of brokers and nodes have in common: signals, and tuning of Python."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

#: Seconds until a thread that wants the interpreter lock gets it from one that computes.
_SWITCH_INTERVAL_S: Final = 0.0005
_COLLECTION_THRESHOLDS: Final = (50_000, 20, 50)


class StopSignals:
    """Turns SIGINT and SIGTERM into a request to stop, while the block runs.

    The first signal calls `on_stop`. The second ends the process at once, with the exit code that
    shells use (130 or 143). Handlers run on the main thread between two instructions, whatever it
    does; on any other thread this does nothing, because only the main one may set handlers.

    Parameters
    ----------
    on_stop
        Called at the first signal, within the handler: it must be short and must not block.
    on_kill
        Called at the second one, before the process ends.

    Attributes
    ----------
    received
        The number of the first signal; 0 before.
    """

    def __init__(
        self, on_stop: Callable[[], None], on_kill: Callable[[], None] | None = None
    ) -> None:
        self.received = 0
        self._on_stop = on_stop
        self._on_kill = on_kill
        #: as `signal.signal` has returned them: of any type
        self._handlers_before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                self._handlers_before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.received:
            if self._on_kill is not None:
                self._on_kill()
            os._exit(128 + number)
        self.received = number
        self._on_stop()


def tune_switching() -> None:
    """Make Python switch threads sooner, because a loop waits for the lock at each system call."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


def tune_collection() -> None:
    """Spare the garbage collector everything that exists now, and let it look less often.

    Called once a process has imported and restored everything, because that stays alive.
    """
    gc.freeze()
    gc.set_threshold(*_COLLECTION_THRESHOLDS)
