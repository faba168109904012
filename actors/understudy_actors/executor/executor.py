"""Sends each run to where its kind of function belongs."""

from __future__ import annotations

from understudy_actors.activation import Run
from understudy_actors.executor.async_loop import AsyncLoop
from understudy_actors.executor.worker_pool import WorkerPool


class Executor:
    """Generators and plain functions on threads, coroutines on a loop."""

    def __init__(self, threads: WorkerPool, loop: AsyncLoop) -> None:
        self.threads = threads
        self.loop = loop

    def submit(self, run: Run) -> None:
        if run.routine.function.kind == "coroutine":
            self.loop.submit(run)
        else:
            self.threads.submit(run)

    def withdraw(self, run: Run) -> bool:
        return run.routine.function.kind != "coroutine" and self.threads.withdraw(run)

    def close(self, run: Run) -> None:
        if run.routine.function.kind == "coroutine":
            self.loop.close(run)
        else:
            self.threads.close(run)

    def stop(self) -> None:
        self.threads.stop()
        self.loop.stop()
