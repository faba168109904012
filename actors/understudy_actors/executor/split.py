"""Sends each run to where its kind of function belongs."""

from __future__ import annotations

from collections.abc import Callable

from understudy_actors.executor.results import Results
from understudy_actors.executor.threads import WorkerPool
from understudy_actors.executor.trio_loop import TrioLoop
from understudy_actors.node.activation import Run
from understudy_actors.node.ports import ListeningPort


class Executor:
    """Generators and plain functions on threads, coroutines on a loop."""

    def __init__(
        self,
        size: int,
        results: Results,
        now_ms: Callable[[], int],
        listening: ListeningPort | None = None,
    ) -> None:
        self.threads = WorkerPool(size, results, now_ms, listening)
        self.loop = TrioLoop(results, now_ms)

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
