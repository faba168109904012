"""The life of a process that is a node and nothing else: until a signal, or its parent's death."""

from __future__ import annotations

import gc
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

from understudy_actors.processes.lifeline import WatchedLifeline, watch_lifeline
from understudy_broker.monitoring.service_manager import ServiceManager, take_service_manager
from understudy_broker.process import StopSignals, tune_collection, tune_switching


class StopRequest:
    """A wish that the process stops; to be closed.

    It is waited for at a socket, to which Python writes a byte when a signal comes
    (`signal.set_wakeup_fd`). A lock would not do: when two signals come at once, the system may
    hand the first one to another thread. Then nothing wakes the main thread, which is the only one
    that runs handlers.

    Attributes
    ----------
    signal
        The number of the signal that has asked for it; 0 if something else did.
    manager
        The service manager, if one has started this process; a supervisor's is not its own.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._lifeline: WatchedLifeline | None = None
        self.manager = take_service_manager()
        self.signal = 0

    @contextmanager
    def awake_at_signals(self) -> Iterator[None]:
        """Have signals wake the thread that waits; on a thread that gets none this does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)

    def attach(self, lifeline: WatchedLifeline | None) -> None:
        """Take the line to the supervisor of this process, if there is one."""
        self._lifeline = lifeline
        if lifeline is not None:
            self.manager = ServiceManager()

    def report_ready(self) -> None:
        """Tell the supervisor or the service manager that this process serves.

        Any thread may call it.
        """
        self.manager.ready("a broker answers")
        if self._lifeline is not None:
            self._lifeline.report_ready()

    def set(self) -> None:
        """Ask the process to stop. Any thread may call this, and signal handlers."""
        self._is_set = True
        # A full buffer wakes as well as one more byte; if it is closed, nobody waits any more.
        with suppress(OSError):
            self._waker.send(b"\0")

    def wait(self, turns: Callable[[], bool] | None = None) -> None:
        """Return when the process is to stop; the service manager hears meanwhile that it turns."""
        if turns is not None:
            self.manager.beat_while(turns)
        while not self._is_set:
            self._woken.recv(1)

    def close(self) -> None:
        """Close the socket; nobody may wait any more."""
        self._waker.close()
        self._woken.close()


@contextmanager
def stop_at_signal() -> Iterator[StopRequest]:
    """Give the block a `StopRequest`, set by a signal or by the death of the parent.

    A second signal ends the process at once, unless it has a supervisor: a service manager may
    signal both, and the supervisor passes it on and kills what takes too long. Signals are received
    on the main thread only; on any other one, only the death of the parent sets the request.
    """

    def on_stop() -> None:
        stop.signal = signals.received
        stop.manager.stopping()
        stop.set()

    with (
        closing(StopRequest()) as stop,
        stop.awake_at_signals(),
        StopSignals(on_stop) as signals,
    ):
        lifeline = watch_lifeline(stop.set)
        signals.kills = lifeline is None
        stop.attach(lifeline)
        yield stop


def tune_process() -> None:
    """Tune Python for a process that is a node and nothing else."""
    gc.collect()
    tune_collection()
    tune_switching()
