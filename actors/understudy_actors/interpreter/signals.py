"""Signals between a run and its node in the middle of a step: progress, and cancellation.

A step takes what has settled at its beginning and its end, so a plain function that works for an
hour would neither be heard nor told anything meanwhile. A run that wants more has `Signals`. They
are made when either side first needs them; most runs never do.

The function's threads and the node's loop use them at the same time. `canceled` only ever becomes
True, `progress` is replaced as a whole, and a lock guards the callbacks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import msgspec


class Progress(msgspec.Struct, frozen=True, gc=False):
    """The word of a function on how far it is.

    Attributes
    ----------
    fraction
        The part of the work that is done, from 0 to 1; None: the function does not say.
    text
        A line for people.
    """

    fraction: float | None = None
    text: str = ""


class Signals:
    """The signals of one run.

    Attributes
    ----------
    canceled
        The run's result is of no use any more: its call was canceled, has settled or passed its
        deadline, or the task has gone to another node.
    progress
        The latest that the function has said; None: nothing yet.
    """

    __slots__ = ("_callbacks", "_event", "_lock", "canceled", "progress")

    def __init__(self) -> None:
        self.canceled = False
        self.progress: Progress | None = None
        self._lock = threading.Lock()
        self._event: threading.Event | None = None
        self._callbacks: dict[Callable[[], None], None] = {}

    def cancel(self) -> None:
        """Note that the run is canceled, and tell everybody who waits for that."""
        with self._lock:
            self.canceled = True
            callbacks, self._callbacks = list(self._callbacks), {}
        for callback in callbacks:
            callback()

    def wait(self, timeout_s: float | None) -> bool:
        """Wait until the run is canceled; return False if that has not happened in the time."""
        with self._lock:
            if self._event is None:
                self._event = threading.Event()
                if self.canceled:
                    self._event.set()
                else:
                    self._callbacks[self._event.set] = None
            event = self._event
        return event.wait(timeout_s)

    @contextmanager
    def calling(self, callback: Callable[[], object]) -> Iterator[None]:
        """Have `callback` called when the run is canceled, as long as the block runs.

        It is called on a thread of its own, because it may take long or fail, and the node must do
        neither; at once, if the run is canceled already.
        """

        def start() -> None:
            threading.Thread(target=callback, name="understudy-cancel", daemon=True).start()

        with self._lock:
            is_canceled = self.canceled
            if not is_canceled:
                self._callbacks[start] = None
        if is_canceled:
            start()
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.pop(start, None)


class Signaled(Protocol):
    """A run, as far as its signals go."""

    #: None: neither side has needed them so far
    signals: Signals | None


#: Held while signals are made, because both sides may be the first.
_MAKING: Final = threading.Lock()


def signals_of(run: Signaled) -> Signals:
    """Return the signals of a run; they are made now if there are none."""
    if run.signals is None:
        with _MAKING:
            if run.signals is None:
                run.signals = Signals()
    return run.signals


def is_canceled(run: Signaled) -> bool:
    """Return whether a run is canceled."""
    signals = run.signals
    return signals is not None and signals.canceled
