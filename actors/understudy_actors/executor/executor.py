"""Dispatch of runs by the kind of their function."""

from __future__ import annotations

from collections.abc import Mapping

from understudy_actors.activation import Run
from understudy_actors.executor.async_loop import AsyncLoop
from understudy_actors.executor.worker_pool import WorkerPool
from understudy_actors.interpreter.ports import LoopName


class Executor:
    """Steps runs: coroutines on event loops, generators and plain functions on worker threads.

    Parameters
    ----------
    loops
        The event loop for each library.
    """

    def __init__(self, workers: WorkerPool, loops: Mapping[LoopName, AsyncLoop]) -> None:
        self.workers = workers
        self.loops = loops

    def submit(self, run: Run) -> None:
        """Step `run` soon. Its results follow through `Results`."""
        if run.routine.kind == "coroutine":
            self.loops[run.routine.function.loop].submit(run)
        else:
            self.workers.submit(run)

    def withdraw(self, run: Run) -> bool:
        """Take back a submitted run; return False if its step may have begun."""
        return run.routine.kind != "coroutine" and self.workers.withdraw(run)

    def close(self, run: Run) -> None:
        """Close the routine of a dropped run, as soon as no step of it is under way."""
        if run.routine.kind == "coroutine":
            self.loops[run.routine.function.loop].close(run)
        else:
            self.workers.close(run)

    def stop(self) -> None:
        """End the threads. A thread inside a function ends with the process."""
        self.workers.stop()
        for loop in self.loops.values():
            loop.stop()
