"""The function's side of its signals: what it says of its progress, and waits for its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from understudy_actors.interpreter.signals import Signaled, Signals, call_when_canceled

#: Held while signals are made, because several threads of one function may be the first.
_MAKING: Final = threading.Lock()


def signals_of(run: Signaled) -> Signals:
    """Return the signals of a run; they are made now if there are none."""
    if run.signals is None:
        with _MAKING:
            if run.signals is None:
                run.signals = Signals()
    return run.signals


def wait_canceled(run: Signaled, timeout_s: float) -> bool:
    """Wait until a run is canceled; return False if that has not happened in the time."""
    if not run.canceled:
        event = threading.Event()
        with _calling(run, event.set):
            event.wait(timeout_s)
    return run.canceled


@contextmanager
def calling(run: Signaled, callback: Callable[[], object]) -> Iterator[None]:
    """Have `callback` called when a run is canceled, as long as the block runs.

    It is called on a thread of its own, because it may take long or fail, and the node must do
    neither; at once, if the run is canceled already.
    """

    def start() -> None:
        threading.Thread(target=callback, name="understudy-cancel", daemon=True).start()

    with _calling(run, start):
        yield


@contextmanager
def _calling(run: Signaled, callback: Callable[[], object]) -> Iterator[None]:
    signals = signals_of(run)
    call_when_canceled(run, signals, callback)
    try:
        yield
    finally:
        signals.remove(callback)
