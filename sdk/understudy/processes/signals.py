"""The life of a process that is a node and nothing else: until a signal, or its parent's death."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from understudy_actors.processes.lifeline import WatchedLifeline, watch_lifeline
from understudy_broker.process import StopSignals, tune_collection, tune_switching


class StopRequest:
    """A wish that the process stops.

    Attributes
    ----------
    signal
        The number of the signal that has asked for it; 0 if something else did.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lifeline: WatchedLifeline | None = None
        self.signal = 0

    def attach(self, lifeline: WatchedLifeline | None) -> None:
        """Take the line to the supervisor of this process, if there is one."""
        self._lifeline = lifeline

    def report_ready(self) -> None:
        """Tell the supervisor, if there is one, that this process serves. Any thread may call."""
        if self._lifeline is not None:
            self._lifeline.report_ready()

    def set(self) -> None:
        """Ask the process to stop. Any thread may call this."""
        self._event.set()

    def wait(self) -> None:
        """Return when the process is to stop."""
        self._event.wait()


@contextmanager
def stop_at_signal() -> Iterator[StopRequest]:
    """Give the block a `StopRequest`, set by a signal or by the death of the parent.

    A second signal ends the process at once, unless it has a supervisor: a service manager may
    signal both, and the supervisor passes it on and kills what takes too long. Signals are received
    on the main thread only; on any other one, only the death of the parent sets the request.
    """
    stop = StopRequest()

    def on_stop() -> None:
        stop.signal = signals.received
        stop.set()

    with StopSignals(on_stop) as signals:
        lifeline = watch_lifeline(stop.set)
        signals.kills = lifeline is None
        stop.attach(lifeline)
        yield stop


def tune_process() -> None:
    """Tune Python for a process that is a node and nothing else."""
    gc.collect()
    tune_collection()
    tune_switching()
