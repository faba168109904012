"""One supervised process, through all its restarts."""

from __future__ import annotations

import signal
from collections import deque
from typing import Final

import trio

from understudy_actors.processes.child import (
    Process,
    ProcessSpec,
    ProcessState,
    ProcessStatistics,
    kill_all,
)
from understudy_actors.processes.lifeline import Lifeline
from understudy_actors.processes.restart import GiveUp, Restart, RestartHistory

#: Lines of output that the report of a failure quotes.
LINES_QUOTED_MAX: Final = 20


class ProcessHandle:
    """A process that a pool keeps alive. Made by `Pool.start`.

    Callers read the attributes and use `statistics` and `send_signal`; everything else is called
    by the pool, on its own thread.

    Attributes
    ----------
    spec
        The program to run.
    pid
        Process id of the current run; None while no run is under way.
    restarts
        Number of restarts since `Pool.start`.
    state
        Where the process is between its first start and its end.
    exit_code
        How the last run ended: an exit code, or minus the number of a signal; None before that,
        and after a run that could not be started.
    """

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.pid: int | None = None
        self.restarts = 0
        self.state: ProcessState = "starting"
        self.exit_code: int | None = None
        self._history = RestartHistory(spec.restart)
        self._last_lines: deque[str] = deque(maxlen=LINES_QUOTED_MAX)
        self._process: Process | None = None
        #: of the current run
        self.lifeline: Lifeline | None = None
        #: the signal with which the pool has asked it to go, if it has
        self._stop_signal: signal.Signals | None = None
        self._gone = trio.Event()

    @property
    def name(self) -> str:
        """The name in the pool, as the `spec` gives it."""
        return self.spec.name

    def statistics(self) -> ProcessStatistics:
        """Return a frozen picture of this moment."""
        return ProcessStatistics(self.name, self.pid, self.state, self.restarts, self.exit_code)

    def send_signal(self, number: signal.Signals) -> int | None:
        """Send a signal to the current run.

        The pool treats the consequences like any other death.

        Returns
        -------
        int | None
            The process id of that run; None if no run is under way.
        """
        if self._process is not None:
            self._process.send_signal(number)
        return self.pid

    # For the pool --------------------------------------------------------------------------------

    @property
    def stop_requested(self) -> bool:
        """True once `request_stop` was called."""
        return self._stop_signal is not None

    @property
    def is_gone(self) -> bool:
        """True once the process has ended for good."""
        return self._gone.is_set()

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last lines of output, of all runs."""
        return tuple(self._last_lines)

    async def wait_gone(self) -> None:
        """Return when the process has ended for good."""
        await self._gone.wait()

    def request_stop(self, number: signal.Signals) -> None:
        """Ask the process to go; a run that is only being started is asked when it has begun."""
        self._stop_signal = number
        if not self.is_gone:
            self.state = "stopping"
        self._deliver_stop()

    def record_start(self, process: Process, lifeline: Lifeline, now_s: float) -> None:
        """Note that a run has begun at the time `now_s`."""
        self._process, self.pid, self.lifeline = process, process.pid, lifeline
        self._history.started(now_s)
        if self._stop_signal is None:
            self.state = "running"
        self._deliver_stop()

    def record_ready(self) -> None:
        """Note that the process serves: it can start, so it is never given up from now on."""
        self._history.served()

    def record_line(self, line: str) -> None:
        """Keep a line of output, in case the report of a failure quotes it."""
        self._last_lines.append(line)

    def record_exit(self, code: int | None) -> None:
        """Note that a run has ended with `code`; None if it could not be started."""
        self._process, self.pid, self.lifeline, self.exit_code = None, None, None, code

    def decide_restart(self, now_s: float) -> Restart | GiveUp:
        """Decide what follows from the last exit, which was not requested."""
        return self._history.exited(now_s, self.exit_code)

    def record_gone(self, state: ProcessState) -> None:
        """Note that no further run follows."""
        self.state = state
        self._gone.set()

    def _deliver_stop(self) -> None:
        process = self._process
        if process is None or self._stop_signal is None or process.returncode is not None:
            return
        if self._stop_signal is signal.SIGKILL:
            kill_all(process)
        else:
            # Only the process itself gets it, because it knows how to end what it has started.
            if self.lifeline is not None:
                self.lifeline.request_stop()
            process.send_signal(self._stop_signal)
